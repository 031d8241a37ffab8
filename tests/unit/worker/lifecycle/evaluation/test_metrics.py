from __future__ import annotations

from dataclasses import replace

import pytest

from core.domain.result import Answer
from tests.labelled import answered, expecting, handed_off
from worker.lifecycle.evaluation.metrics import (
    EntryMetrics,
    EvaluationOutcomes,
    bins,
    measure,
    worst,
)
from worker.lifecycle.inputs.labelled_questions import QuestionScope


def test_the_metrics_equal_a_count_by_hand():
    labelled = [expecting("a"), expecting("a", "b"), expecting("b"), expecting(), expecting()]
    answers = [
        answered("a", 0.9),  # right
        answered("b", 0.8),  # right: one of two
        handed_off("b", 0.3),  # right entry, but too low a confidence
        answered("a", 0.6),  # should have been handed off
        handed_off(None, None),
    ]
    answers = [replace(answer, in_scope_probability=answer.confidence) for answer in answers]
    report = measure(labelled, answers, 0.5, 12.3)
    assert report.questions == 5
    assert report.accuracy == 1.0
    assert report.answered == 3
    assert report.precision == 0.6667
    assert report.coverage == 0.6667
    assert report.handoff_recall == 0.5
    assert report.auroc == 0.8333  # 5 of 6 pairs in order
    assert report.ece == pytest.approx((0.1 + 0.2 + 0.7 + 0.6 + 0.0) / 5)
    assert (report.threshold, report.questions_per_second) == (0.5, 12.3)


def test_what_is_not_defined_is_null():
    in_scope = measure([expecting("a")], [handed_off("b")], 0.5, None)
    assert (in_scope.handoff_recall, in_scope.auroc, in_scope.precision) == (None, None, None)
    assert (in_scope.handoff_recall_near, in_scope.handoff_recall_far) == (None, None)
    assert in_scope.accuracy == 0.0
    out_of_scope = measure([expecting()], [handed_off("b")], 0.5, None)
    assert (out_of_scope.accuracy, out_of_scope.coverage, out_of_scope.auroc) == (None, None, None)
    assert out_of_scope.handoff_recall == 1.0


def test_hand_off_recall_is_measured_near_and_far():
    scopes = [QuestionScope.NEAR, QuestionScope.NEAR, QuestionScope.FAR, None]
    answers = [answered("a"), handed_off("a"), handed_off("a"), answered("b")]
    report = measure([expecting(scope=scope) for scope in scopes], answers, 0.5, None)
    assert (report.handoff_recall_near, report.handoff_recall_far) == (0.5, 1.0)
    assert report.handoff_recall == 0.5  # a question without a scope counts in the total


def test_confidence_equal_to_the_share_that_is_right_has_no_error():
    answers = [answered("a", 0.5), answered("b", 0.5)]
    assert measure([expecting("a"), expecting("a")], answers, 0.5, None).ece == 0.0


def test_whatever_is_named_for_a_question_without_an_entry_is_wrong():
    report = measure([expecting(), expecting("a")], [handed_off("a", 0.8)] * 2, 0.9, None)
    assert report.ece == pytest.approx(0.3)  # at 0.8, half is right


def test_no_confidence_is_none_at_all_and_no_error():
    report = measure([expecting("a"), expecting()], [handed_off(None, None)] * 2, 0.5, None)
    assert report.ece == 0.0


def test_each_entry_has_its_metrics():
    labelled = [expecting("a"), expecting("a"), expecting("a"), expecting("a", "b"), expecting()]
    answers = [answered("c"), handed_off("c"), handed_off("b"), answered("b"), answered("a")]
    assert measure(labelled, answers, 0.5, None).entries == [
        EntryMetrics("a", questions=4, right=1, answered=2, confused_with="c", confused=2),
        EntryMetrics("b", questions=1, right=1, answered=1),
    ]


def test_of_equally_frequent_confusions_the_first_by_name_is_reported():
    (entry,) = measure([expecting("x")] * 2, [answered("c"), answered("b")], 0.5, None).entries
    assert (entry.confused_with, entry.confused) == ("b", 1)


def test_a_hand_off_without_an_entry_is_no_confusion():
    (entry,) = measure([expecting("x")], [handed_off(None, None)], 0.5, None).entries
    assert (entry.right, entry.confused_with, entry.confused) == (0, None, 0)


def test_hand_offs_are_counted_by_reason():
    reasons = ["empty", "ambiguous", "ambiguous"]
    answers: list[Answer] = [handed_off("a", reason=reason) for reason in reasons]
    report = measure([expecting("a")] * 4, [*answers, answered("a")], 0.5, None)
    assert list(report.reasons.items()) == [("ambiguous", 2), ("empty", 1)]


def test_bins_hold_every_question_once():
    confidences = [0.0, 0.05, 0.5, 0.99, 1.0]
    labelled = [expecting("a")] * 5
    filled = bins(
        EvaluationOutcomes.of(labelled, [answered("a" if c > 0.9 else "b", c) for c in confidences])
    )
    assert [each.count for each in filled] == [2, 1, 2]
    assert filled[-1].high == 1.0
    assert filled[-1].right == 1.0
    assert filled[0].confidence == pytest.approx(0.025)


def test_the_worst_entries_are_those_with_the_most_wrong_questions():
    entries = [
        EntryMetrics("fine", 50, 50, 50),
        EntryMetrics("some", 90, 87, 90),
        EntryMetrics("few", 4, 1, 2),
        EntryMetrics("most", 10, 5, 9),
    ]
    assert [entry.entry for entry in worst(entries, 10)] == ["most", "few", "some"]
    assert [entry.entry for entry in worst(entries, 1)] == ["most"]
