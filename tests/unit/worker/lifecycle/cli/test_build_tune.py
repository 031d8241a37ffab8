"""`model build --tune`, in this process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

KB = [
    {"id": "refund", "answer": "Soon.", "questions": [f"refund {n}" for n in "abcdef"]},
    {"id": "track", "answer": "See My orders.", "questions": [f"parcel {n}" for n in "abcdef"]},
]


@pytest.fixture
def build(build_from):
    return partial(build_from, entries=KB)


def test_an_encoder_is_tuned_and_the_result_is_shown(build):
    status, out, err = build("--tune", "encoder")
    assert (status, err) == (0, "")
    assert "phrasings held out" in out
    document = json.loads(build("--tune", "encoder", "--json")[1])
    tuning = document["tuning"]
    assert tuning["held_out"] in range(1, 5)
    assert document["encoder"].endswith(", tuned") is (tuning["share"] > 0)
    assert document["new"] is False  # the same inputs tune the same encoder


@pytest.mark.parametrize(
    "words", [[], ["--tune"], ["--tune", "--json"], ["--tune", "none"], ["--tune=head"]]
)
def test_no_encoder_is_tuned_by_default(build, words: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "worker.lifecycle.training.fine_tune.tune_encoder", lambda *_, **__: pytest.fail("tuned")
    )
    status, out, _ = build(*words)
    assert status == 0
    assert "held out" not in out


def test_a_refused_tuning_is_reported_in_one_line(build):
    few = [entry | {"questions": entry["questions"][:2]} for entry in KB]
    status, out, err = build("--tune", "encoder", entries=few)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "there are 4 phrasings of 2 entries" in err
    status, out, err = build("--tune", "everything")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "'none', 'head', 'encoder'" in err


def test_an_interrupted_tuning_leaves_nothing(build, home: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.lifecycle.training.trainer._EntryContrast.forward", stop)
    assert build("--tune", "encoder")[:2] == (130, "")
    assert list((home / "models").rglob("*")) == []
