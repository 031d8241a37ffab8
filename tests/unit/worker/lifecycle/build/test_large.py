"""Knowledge bases with more phrasings than each question is compared with one by one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from core.errors import BundleInvalid, ExtraMissing
from worker.inference.passes import answer_texts
from worker.lifecycle.build import fit
from worker.lifecycle.build.build_bundle import build
from worker.lifecycle.build.options import BuildOptions
from worker.lifecycle.training.encoder_source import EncoderSource
from worker.model.bundle.bundle import Bundle, Entry, open_bundle
from worker.model.load import load
from worker.model.retrieval.ivf import FILE

THINGS = ["refund", "parcel", "invoice", "password", "voucher", "discount", "warranty", "size"]
ACTS = ["cancel", "find", "change", "send", "lose"]
WAYS = ["how do i {} my {}", "i want to {} the {}", "please {} {} now", "{} a {}?", "can i {} {}"]
QUESTIONS = ["may i {} that {} today", "{} {}", "how to {} the old {}"]


def entries() -> list[Entry]:
    return [
        Entry(
            f"{act}-{thing}", f"To {act} a {thing}, call.", [way.format(act, thing) for way in WAYS]
        )
        for thing in THINGS
        for act in ACTS
    ]


def uninstall_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    without = lambda name, *more: None if name == "faiss" else find(name, *more)  # noqa: E731 - short
    monkeypatch.setattr(importlib.util, "find_spec", without)


@pytest.fixture
def make(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Build without a head, as with so many rows; the store is the build's own."""
    monkeypatch.setattr(fit, "MAX_ROWS", 10)
    source = EncoderSource("tiny", tiny_encoder)

    def make(store: str, max_exact_search: int) -> Bundle:
        return build(
            tmp_path / store,
            "large",
            entries(),
            source,
            BuildOptions(max_exact_search=max_exact_search),
            threads=1,
            on_progress=lambda *_: None,
        )

    return make


def test_a_large_knowledge_base_answers_as_if_each_phrasing_was_compared(make):
    large, exact = make("large", 199), make("exact", 200)
    assert (FILE in large.manifest.files, FILE in exact.manifest.files) == (True, False)
    assert large.manifest.threshold == exact.manifest.threshold
    assert large.manifest.metrics == exact.manifest.metrics
    questions = [way.format(act, thing) for way in QUESTIONS for act in ACTS for thing in THINGS]
    answers = [answer_texts(load(bundle, "large@1"), questions) for bundle in (large, exact)]
    same = [first.entry_id == second.entry_id for first, second in zip(*answers, strict=True)]
    assert sum(same) / len(same) > 0.97
    close = [abs(a.confidence - b.confidence) < 0.01 for a, b in zip(*answers, strict=True)]
    assert sum(close) / len(close) > 0.95


def test_the_same_large_knowledge_base_builds_the_same_digest(make):
    assert make("first", 10).manifest.digest == make("again", 10).manifest.digest


def test_the_ivf_index_is_verified_like_every_file(make):
    bundle = make("store", 10)
    with (bundle.path / FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(BundleInvalid, match=f"{FILE} was changed"):
        open_bundle(bundle.path)


def test_without_faiss_a_large_build_is_refused_before_anything_is_read(
    make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    uninstall_faiss(monkeypatch)
    with pytest.raises(ExtraMissing, match="faiss-cpu"):
        make("store", 10)
    assert not list(tmp_path.glob("store/**/*"))
    assert make("store", 200)


def test_without_faiss_a_large_version_is_not_loaded(make, monkeypatch: pytest.MonkeyPatch):
    bundle = make("store", 10)
    uninstall_faiss(monkeypatch)
    with pytest.raises(ExtraMissing, match="faiss-cpu"):
        load(bundle, "large@1")
