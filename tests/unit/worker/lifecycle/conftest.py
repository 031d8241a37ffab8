"""Versions of the tiny model in a store: registered, the first in production."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core import console
from core.domain.model_version import ModelVersion
from core.settings.settings import Settings
from db.queries import model_versions
from db.session import transaction
from tests.factories import NOW
from tests.unit.worker.conftest import ENTRIES
from worker.lifecycle.build.build_bundle import build, register
from worker.lifecycle.cli.model import app
from worker.lifecycle.training.encoder_source import EncoderSource
from worker.model.bundle.bundle import Bundle, Entry
from worker.model.bundle.location import bundle_path

WORSE = [entry for entry in ENTRIES if entry.id != "track"]

Add = Callable[..., ModelVersion]


@pytest.fixture(scope="session")
def worse_bundle(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle without one of its entries."""
    return _built(tiny_encoder, tmp_path_factory.mktemp("store"), WORSE)


def _built(encoder: Path, store: Path, entries: Sequence[Entry]) -> Bundle:
    source = EncoderSource("tiny", encoder)
    return build(store, "tiny", list(entries), source, threads=1, on_progress=lambda *_: None)


@pytest.fixture
def first(engine: sa.Engine, settings: Settings, tiny_bundle: Bundle) -> ModelVersion:
    """tiny@1, in production, its bundle in the store."""
    return register(engine, _stored(settings, tiny_bundle)).version


@pytest.fixture
def worse(
    engine: sa.Engine,
    settings: Settings,
    first: ModelVersion,  # noqa: ARG001 - comes after it
    worse_bundle: Bundle,
) -> ModelVersion:
    """tiny@2, which lacks an entry."""
    return register(engine, _stored(settings, worse_bundle)).version


def _stored(settings: Settings, bundle: Bundle) -> Bundle:
    path = bundle_path(settings.models, "tiny", bundle.manifest.digest)
    shutil.copytree(bundle.path, path)
    return Bundle(path, bundle.manifest)


@pytest.fixture
def add(engine: sa.Engine) -> Add:
    """Register a version without a bundle."""

    def add(digest: str = "f" * 64, **metrics: Any) -> ModelVersion:
        with transaction(engine) as conn:
            return model_versions.register(
                conn, name="tiny", digest=digest, metrics=metrics, now=NOW
            )

    return add


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command under `model`; return its status, output and errors."""
    monkeypatch.setenv("ANSWERMILL_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> tuple[int, str, str]:
        status = console.run(app, list(words))
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def build_from(run, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch):
    """Build a version of `shop` from entries, given as the lines of a knowledge base."""
    monkeypatch.setenv("ANSWERMILL_THREADS", "1")

    def build_from(*words: str, entries: list[dict[str, object]]) -> tuple[int, str, str]:
        file = tmp_path / "kb.jsonl"
        file.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
        fixed = ["build", "--name", "shop", "--knowledge", str(file), "--encoder"]
        return run(*fixed, str(tiny_encoder), *words)

    return build_from


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Labelled questions that are known phrasings, a quarter of them of one entry."""
    file = tmp_path / "labelled.csv"
    rows = [(text, entry.id) for entry in ENTRIES for text in entry.questions]
    lines = [f'"{text}",{expected}' for text, expected in rows]
    file.write_text(
        "\n".join(["question,expected", *lines, "do you know a joke,"]), encoding="utf-8"
    )
    return file
