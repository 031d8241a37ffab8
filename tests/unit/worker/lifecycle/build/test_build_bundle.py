from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from core.domain.model_version import VersionState
from core.errors import BundleInvalid
from db.queries import model_versions
from db.session import reading
from worker.lifecycle.build.build_bundle import build, register
from worker.lifecycle.inputs.out_of_scope_questions import read_out_of_scope_questions
from worker.lifecycle.training.encoder_source import EncoderSource
from worker.model.bundle.bundle import Bundle, Entry, open_bundle

ENTRIES = [
    Entry("refund", "Within 14 days.", ["Where is my refund?", "I want my money back"]),
    Entry("track", "See My orders.", ["Where is my parcel?", "Track my order"]),
]


class Builder:
    """A build with every argument filled in."""

    def __init__(self, encoder: Path, store: Path) -> None:
        self.store = store
        self.source = EncoderSource("tiny", encoder)
        self.progress: list[tuple[int, int]] = []

    def __call__(self, entries: list[Entry] = ENTRIES, name: str = "shop") -> Bundle:
        record = lambda done, total: self.progress.append((done, total))  # noqa: E731 - short
        return build(self.store, name, entries, self.source, threads=1, on_progress=record)


@pytest.fixture
def make(tiny_encoder: Path, tmp_path: Path) -> Builder:
    return Builder(tiny_encoder, tmp_path / "store")


def test_a_build_leaves_one_whole_bundle_and_nothing_else(make: Builder):
    bundle = make()
    assert bundle.path == make.store / "shop" / bundle.manifest.digest[:16]
    assert list((make.store / "shop").iterdir()) == [bundle.path]
    assert open_bundle(bundle.path).entries() == ENTRIES
    assert (bundle.manifest.entries, bundle.manifest.phrasings) == (2, 4)


def test_the_same_inputs_build_the_same_digest(make: Builder):
    first, again = make(), make()
    assert again.path == first.path
    assert again.manifest.digest == first.manifest.digest
    assert make(name="other").manifest.digest == first.manifest.digest


def test_another_knowledge_base_builds_another_digest(make: Builder):
    other = [ENTRIES[0], replace(ENTRIES[1], answer="See the app.")]
    assert make(other).manifest.digest != make().manifest.digest


def test_where_the_encoder_lay_is_not_in_the_bundle(make: Builder):
    bundle = make()
    written = (bundle.path / "manifest.json").read_text(encoding="utf-8")
    config = (bundle.path / "encoder" / "config.json").read_text(encoding="utf-8")
    assert str(make.source.folder) not in written + config


def test_progress_ends_at_all_that_is_read(make: Builder):
    make()
    texts = sum(len(entry.questions) + 1 for entry in ENTRIES) + len(read_out_of_scope_questions())
    assert make.progress[-1] == (texts, texts)


def test_a_build_that_dies_leaves_nothing(make: Builder, monkeypatch: pytest.MonkeyPatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.lifecycle.build.index.calibrate", die)
    with pytest.raises(KeyboardInterrupt):
        make()
    assert list(make.store.rglob("*")) == []


def test_a_damaged_bundle_is_repaired_by_building_it_again(make: Builder):
    bundle = make()
    (bundle.path / "entries.jsonl").write_bytes(b"")
    (bundle.path / "extra").write_bytes(b"")
    assert open_bundle(make().path).entries() == ENTRIES


def test_a_store_that_cannot_be_written_is_reported(make: Builder):
    make.store.write_text("a file", encoding="utf-8")
    with pytest.raises(BundleInvalid, match="Not a directory"):
        make()


def test_a_bundle_is_as_readable_as_the_umask_allows(make: Builder):
    umask = os.umask(0o022)
    try:
        bundle = make()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o755
    files = [path for path in bundle.path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("a", "A", ["?"])],
        [Entry("a", "A", ["hello"])],
        [Entry("a", "A", ["hello"]), Entry("b", "B", ["hello"])],
    ],
)
def test_the_smallest_knowledge_bases_build(make: Builder, entries: list[Entry]):
    assert make(entries).manifest.threshold == 0.5


def test_two_entries_with_phrasings_enough_to_calibrate_with_build(make: Builder):
    refund = Entry("a", "A", [f"refund {n}" for n in range(60)])
    parcel = Entry("b", "B", [f"parcel {n}" for n in range(60)])
    assert make([refund, parcel]).manifest.metrics["calibrated"]


def test_the_manifest_has_the_parameters(make: Builder):
    content = json.loads((make().path / "manifest.json").read_bytes())
    assert content["retrieval"]["lexical"] == {"spaced": 0.2, "cjk": 0.9}
    assert (content["engine"], content["precision"], content["pooling"]) == (
        "torch",
        "fp32",
        "mean",
    )
    assert (content["dimensions"], content["max_tokens"]) == (32, 64)


def test_the_first_version_goes_into_production_and_the_second_does_not(
    make: Builder, engine: sa.Engine
):
    first = register(engine, make())
    second = register(engine, make(ENTRIES[:1]))
    assert (str(first.version), first.version.state) == ("shop@1", VersionState.PRODUCTION)
    assert (str(second.version), second.version.state) == ("shop@2", VersionState.BUILT)
    with reading(engine) as conn:
        assert str(model_versions.find(conn, "shop")) == "shop@1"


def test_a_bundle_that_does_not_answer_gets_no_number(
    make: Builder, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
):
    bundle = make()
    nonsense = np.full((1, 32), np.nan, np.float32)
    monkeypatch.setattr(
        "worker.model.encoder.torch_encoder.TorchEncoder.encode", lambda *_: nonsense
    )
    with pytest.raises(BundleInvalid, match="its encoder returns NaN or infinity"):
        register(engine, bundle)
    with reading(engine) as conn:
        assert model_versions.listed(conn) == []


def test_the_same_bundle_keeps_its_number(make: Builder, engine: sa.Engine):
    first = register(engine, make())
    again = register(engine, make())
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version == first.version
