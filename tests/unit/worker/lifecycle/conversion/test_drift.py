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
    """Return embeddings at angles of the unit circle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def questions(count: int, expected: list[int] | None = None) -> DriftSample:
    right = None if expected is None else [frozenset({entry}) for entry in expected]
    return DriftSample("questions", ["?"] * count, np.full(count, -1), right)


# Two phrasings of the first entry, at 0 and 10 degrees, and one of the second, at 90.
KNOWN = KnownEmbeddings(at(0, 10, 90), np.array([0, 2]))


def test_the_same_embeddings_have_not_drifted():
    drift = compare(questions(3, [0, 1, 1]), at(0, 80, 30), at(0, 80, 30), KNOWN)
    assert drift == Drift(3, 1.0, 1.0, 1.0, 3, 0.0, 0.6667, 0.6667)
    assert not any(drift.beyond(limits) for limits in LIMITS.values())


def test_a_clear_answer_that_changes_is_counted():
    drift = compare(questions(2), at(0, 20), at(0, 80), KNOWN)
    assert (drift.clear, drift.changed) == (2, 0.5)
    assert drift.cosine_least == pytest.approx(0.5)
    assert (drift.accuracy_before, drift.accuracy_after) == (None, None)


def test_an_answer_that_was_not_clear_may_change():
    drift = compare(questions(1), at(49.9), at(50.1), KNOWN)
    assert (drift.clear, drift.changed) == (0, 0.0)


def test_a_phrasing_is_compared_as_if_it_were_not_known():
    phrasing = DriftSample("phrasings", ["y"], np.array([2]), [frozenset({1})])
    assert compare(phrasing, at(90), at(90), KNOWN).accuracy_before == 0.0
    assert compare(questions(1, [1]), at(90), at(90), KNOWN).accuracy_before == 1.0


def test_questions_without_a_right_entry_do_not_count_for_accuracy():
    sample = replace(questions(2), expected=[frozenset({0}), frozenset()])
    assert compare(sample, at(0, 0), at(0, 90), KNOWN).accuracy_after == 1.0


def test_more_questions_than_a_block_are_compared():
    angles = np.linspace(0, 90, 700)
    drift = compare(questions(700), at(*angles), at(*angles[::-1]), KNOWN)
    assert drift.questions == 700
    assert drift.changed > 0.8


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"cosine_least": 0.8}, "the least cosine is 0.8000, below the limit of 0.85"),
        (
            {"cosine_p1": 0.9},
            "the 1st percentile of the cosine is 0.9000, below the limit of 0.95",
        ),
        ({"changed": 0.03}, "3.0% of the clear answers change, above the limit of 2.0%"),
        ({"cosine_least": float("nan")}, "the least cosine is nan, below the limit of 0.85"),
    ],
)
def test_a_figure_beyond_its_limit_is_reported(figure: dict[str, float], message: str):
    assert replace(SAME, **figure).beyond(INT8) == [message]


def test_one_clear_answer_may_always_change_and_a_second_not():
    strict = DriftLimits(cosine_least=0.0, cosine_p1=0.0, changed=0.0)
    assert replace(SAME, changed=0.01).beyond(strict) == []
    assert replace(SAME, changed=0.02).beyond(strict) == [
        "2.0% of the clear answers change, above the limit of 0.0%"
    ]


def test_a_sample_of_many_phrasings_is_spread_evenly_and_has_the_longest():
    phrasings = [f"{number}" for number in range(3_000)]
    entries = [Entry("a", "A", phrasings), Entry("b", "B", ["x" * 99, "y"])]
    sample = sample_phrasings(entries)
    assert len(sample.texts) in {MOST_PHRASINGS, MOST_PHRASINGS + 1}
    assert "x" * 99 in sample.texts
    assert sample.phrasing_of[0] == 0
    assert sample.phrasing_of[-1] == 3_001
    assert sample.expected is not None
    assert sample.expected[-1] == {1}


def test_labelled_questions_of_a_file_are_read(tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text("question,expected\nhow x?,a\nhuh,\n", encoding="utf-8")
    sample = read_sample(file, ENTRIES)
    assert (sample.title, sample.texts) == ("questions of q.csv", ["how x?", "huh"])
    assert sample.expected == [{0}, frozenset()]
    assert sample.phrasing_of.tolist() == [-1, -1]


def test_questions_without_labels_are_read(tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text("question\nhow x?\n\n", encoding="utf-8")
    assert (read_sample(file, ENTRIES).texts, read_sample(file, ENTRIES).expected) == (
        ["how x?"],
        None,
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("question\n", "the file has no questions"),
        ("text\nhow x?\n", "no column named 'question'"),
        ("question,expected\nhow x?,nope\n", "no entry 'nope'"),
    ],
)
def test_an_invalid_file_is_reported(tmp_path: Path, content: str, problem: str):
    file = tmp_path / "q.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SourceInvalid, match=problem):
        read_sample(file, ENTRIES)


def test_answer_texts_are_not_compared_with(tiny_bundle: Bundle):
    embeddings = known(tiny_bundle)
    assert embeddings.embeddings.shape == (tiny_bundle.manifest.phrasings, 32)
    assert embeddings.starts.tolist() == [0, 3, 6, 9]
