from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import SourceInvalid
from worker.lifecycle.conversion.drift import (
    LIMITS,
    MOST_PHRASINGS,
    Drift,
    DriftLimits,
    DriftSample,
    KnownEmbeddings,
    compare,
    known,
    read_sample,
    sample_phrasings,
)
from worker.model.bundle.bundle import Bundle, Entry
from worker.model.encoder.base import Precision

ENTRIES = [Entry("a", "A", ["x", "x!"]), Entry("b", "B", ["y"])]
SAME = Drift(
    questions=100,
    cosine_mean=1.0,
    cosine_p1=1.0,
    cosine_least=1.0,
    clear=100,
    changed=0.0,
    accuracy_before=0.9,
    accuracy_after=0.9,
)
INT8 = LIMITS[Precision.INT8]


def at(*degrees: float) -> np.ndarray:
    """Return embeddings on the unit circle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def asked(count: int, expected: list[int] | None = None) -> DriftSample:
    right = None if expected is None else [frozenset({place}) for place in expected]
    return DriftSample("questions", ["?"] * count, np.full(count, -1), right)


# Two phrasings of the first entry, at 0 and 10 degrees, and one of the second, at 90.
KNOWN = KnownEmbeddings(at(0, 10, 90), np.array([0, 2]))


def test_the_same_embeddings_have_not_drifted():
    drift = compare(asked(3, [0, 1, 1]), at(0, 80, 30), at(0, 80, 30), KNOWN)
    assert drift == Drift(3, 1.0, 1.0, 1.0, 3, 0.0, 0.6667, 0.6667)
    assert not any(drift.beyond(limits) for limits in LIMITS.values())


def test_a_clear_answer_that_changes_is_counted():
    drift = compare(asked(2), at(0, 20), at(0, 80), KNOWN)
    assert (drift.clear, drift.changed) == (2, 0.5)
    assert drift.cosine_least == pytest.approx(0.5)
    assert (drift.accuracy_before, drift.accuracy_after) == (None, None)


def test_an_answer_that_was_not_clear_may_change():
    drift = compare(asked(1), at(49.9), at(50.1), KNOWN)
    assert (drift.clear, drift.changed) == (0, 0.0)


def test_a_phrasing_is_asked_as_if_it_were_not_known():
    itself = DriftSample("phrasings", ["y"], np.array([2]), [frozenset({1})])
    assert compare(itself, at(90), at(90), KNOWN).accuracy_before == 0.0
    assert compare(asked(1, [1]), at(90), at(90), KNOWN).accuracy_before == 1.0


def test_questions_that_nobody_can_answer_do_not_count_for_accuracy():
    sample = replace(asked(2), expected=[frozenset({0}), frozenset()])
    assert compare(sample, at(0, 0), at(0, 90), KNOWN).accuracy_after == 1.0


def test_more_questions_than_a_block_are_compared():
    angles = np.linspace(0, 90, 700)
    drift = compare(asked(700), at(*angles), at(*angles[::-1]), KNOWN)
    assert drift.questions == 700
    assert drift.changed > 0.8


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"cosine_least": 0.8}, "the least cosine is 0.8000, 0.85 is allowed"),
        ({"cosine_p1": 0.9}, "the 1st percentile's cosine is 0.9000, 0.95 is allowed"),
        ({"changed": 0.03}, "3.0% of the clear answers change, 2.0% may"),
        ({"cosine_least": float("nan")}, "the least cosine is nan, 0.85 is allowed"),
    ],
)
def test_what_goes_beyond_a_limit_is_told(fault: dict[str, float], told: str):
    assert replace(SAME, **fault).beyond(INT8) == [told]


def test_one_clear_answer_may_always_change_and_a_second_not():
    strict = DriftLimits(cosine_least=0.0, cosine_p1=0.0, changed=0.0)
    assert replace(SAME, changed=0.01).beyond(strict) == []
    assert replace(SAME, changed=0.02).beyond(strict) == [
        "2.0% of the clear answers change, 0.0% may"
    ]


def test_of_many_phrasings_some_from_everywhere_are_asked_and_the_longest():
    questions = [f"{number}" for number in range(3_000)]
    entries = [Entry("a", "A", questions), Entry("b", "B", ["x" * 99, "y"])]
    sample = sample_phrasings(entries)
    assert len(sample.texts) in {MOST_PHRASINGS, MOST_PHRASINGS + 1}
    assert "x" * 99 in sample.texts
    assert sample.itself[0] == 0
    assert sample.itself[-1] == 3_001
    assert sample.expected is not None
    assert sample.expected[-1] == {1}


def test_labelled_questions_of_a_file_are_read(tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text("question,expected\nhow x?,a\nhuh,\n", encoding="utf-8")
    sample = read_sample(file, ENTRIES)
    assert (sample.title, sample.texts) == ("questions of q.csv", ["how x?", "huh"])
    assert sample.expected == [{0}, frozenset()]
    assert sample.itself.tolist() == [-1, -1]


def test_questions_without_labels_are_read(tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text("question\nhow x?\n\n", encoding="utf-8")
    assert (read_sample(file, ENTRIES).texts, read_sample(file, ENTRIES).expected) == (
        ["how x?"],
        None,
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("question\n", "there is no question in it"),
        ("text\nhow x?\n", "no column 'question'"),
        ("question,expected\nhow x?,nope\n", "no entry 'nope'"),
    ],
)
def test_a_file_that_cannot_be_asked_is_told(tmp_path: Path, content: str, told: str):
    file = tmp_path / "q.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SourceInvalid, match=told):
        read_sample(file, ENTRIES)


def test_known_are_the_phrasings_without_the_answer_texts(tiny_bundle: Bundle):
    found = known(tiny_bundle)
    assert found.embeddings.shape == (tiny_bundle.manifest.phrasings, 32)
    assert found.starts.tolist() == [0, 3, 6, 9]
