"""`model build --layers`, in this process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from worker.lifecycle.training import distill

KB = [
    {"id": "refund", "answer": "Soon.", "questions": [f"refund {n}" for n in range(60)]},
    {"id": "track", "answer": "See My orders.", "questions": [f"parcel {n}" for n in range(60)]},
]


@pytest.fixture
def build(build_from):
    return partial(build_from, entries=KB)


def test_an_encoder_is_distilled_and_the_result_is_shown(build):
    status, out, err = build("--layers", "1")
    assert (status, err) == (0, "")
    assert "Distilling to 1 of 2 layers is kept: of 24 phrasings held out" in " ".join(out.split())
    document = json.loads(build("--layers", "1", "--json")[1])
    assert document["distilling"]["held_out"] == 24
    assert document["encoder"].endswith(", 1 of 2 layers")
    assert document["new"] is False  # the same inputs distill the same encoder


def test_a_distilled_encoder_can_be_tuned_and_converted(build):
    status, out, _ = build(
        "--layers", "1", "--tune", "encoder", "--engine", "onnx", "--precision", "int8"
    )
    assert status == 0
    assert "1 of 2 layers" in out
    assert "Tuning" in out


def test_a_distilled_encoder_that_lost_too_much_is_discarded(
    build, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(distill, "_MARGIN", -2.0)
    status, out, _ = build("--layers", "1")
    assert status == 0
    assert "lost too much, so the encoder stays as it was" in " ".join(out.split())
    assert "layers" not in json.loads(build("--layers", "1", "--json")[1])["encoder"]


@pytest.mark.parametrize(
    ("words", "entries", "problem"),
    [
        (["--layers", "2"], KB, "it has 2 layers, and 2 were requested"),
        (["--layers", "0"], KB, "--layers"),
        (["--layers", "few"], KB, "--layers"),
        (["--layers", "1"], [KB[0]], "there are 60 phrasings of 1 entries"),
    ],
)
def test_a_refused_distillation_is_reported_in_one_line(
    build, home: Path, words: list[str], entries: list[dict[str, object]], problem: str
):
    status, out, err = build(*words, entries=entries)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert problem in err
    assert list((home / "models").rglob("*")) == []


def test_an_interrupted_distilling_leaves_nothing(
    build, home: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.lifecycle.training.trainer.EmbedDistillLoss.forward", stop)
    assert build("--layers", "1")[:2] == (130, "")
    assert list((home / "models").rglob("*")) == []
