"""What changes from one version to another, with models that give fixed answers."""

from __future__ import annotations

import pytest

from core.domain.result import Answer, Status
from tests.fakes import FakeModel
from worker.lifecycle.evaluation.answer_diff import Change, diff_answers, kind_of
from worker.lifecycle.inputs.question_source import QuestionSource


def answered(entry="track", text="See My orders.", confidence=0.9):
    return Answer(Status.ANSWERED, text, entry, confidence=confidence)


def handed_off(entry="track", confidence=0.2):
    return Answer(Status.HANDED_OFF, None, entry, confidence=confidence, reason="ambiguous")


@pytest.mark.parametrize(
    ("first", "second", "change"),
    [
        (answered(), answered(), Change.SAME),
        (answered(confidence=0.9), answered(confidence=0.86), Change.SAME),
        (answered(confidence=0.9), answered(confidence=0.8), Change.CONFIDENCE),
        (answered(confidence=0.8), answered(confidence=0.9), Change.CONFIDENCE),
        (answered(), answered(text="Look there."), Change.OTHER_ANSWER),
        (answered(), answered("refund", "Soon."), Change.OTHER_ENTRY),
        (answered(), handed_off(), Change.HANDED_OFF),
        (answered(), handed_off("refund"), Change.HANDED_OFF),
        (handed_off(), answered(), Change.ANSWERED),
        (handed_off(), handed_off("refund"), Change.OTHER_ENTRY),
        (handed_off(None, None), handed_off(None, None), Change.SAME),
        (Answer(Status.FAILED, error="x"), Answer(Status.FAILED, error="x"), Change.SAME),
    ],
)
def test_every_change_has_its_kind(first, second, change):
    assert kind_of(first, second) is change


def fixed(version, answers):
    """Return a model that gives these answers, and the same one to every other text."""
    return FakeModel(version, answer=lambda text: answers.get(text, answered()))


def source(*pages):
    return QuestionSource("batch 1 (b)", sum(map(len, pages)), iter(pages))


def page(first, last):
    return [(f"T-{n}", f"q{n}") for n in range(first, last)]


def compared(answers, *pages, limit=None, on_progress=lambda *_: None):
    models = [fixed("shop@1", {}), fixed("shop@2", answers)]
    return diff_answers(models, source(*pages), 100, limit=limit, on_progress=on_progress)


def test_questions_are_counted_by_kind_and_the_changed_ones_kept():
    answers = {"q3": handed_off(), "q7": answered("refund"), "q8": answered("refund")}
    difference = compared(answers, page(0, 5), page(5, 10))
    assert (difference.first, difference.second, difference.questions) == ("shop@1", "shop@2", 10)
    assert {change: n for change, n in difference.counts.items() if n} == {
        Change.OTHER_ENTRY: 2,
        Change.HANDED_OFF: 1,
        Change.SAME: 7,
    }
    assert [(changed.key, changed.question, changed.change) for changed in difference.changed] == [
        ("T-3", "q3", Change.HANDED_OFF),
        ("T-7", "q7", Change.OTHER_ENTRY),
        ("T-8", "q8", Change.OTHER_ENTRY),
    ]
    assert (difference.changed[0].first, difference.changed[0].second) == (answered(), handed_off())


def test_of_each_kind_only_so_many_are_kept_but_all_are_counted():
    answers = {f"q{n}": answered("refund") for n in range(50)} | {"q60": handed_off()}
    difference = compared(answers, page(0, 100), limit=2)
    assert [changed.key for changed in difference.changed] == ["T-0", "T-1", "T-60"]
    assert difference.counts[Change.OTHER_ENTRY] == 50


def test_questions_that_no_model_reads_are_the_same():
    answers = {"x" * 101: answered("refund")}
    difference = compared(answers, [("1", " "), ("2", ""), ("3", "x" * 101)])
    assert difference.counts[Change.SAME] == 3


def test_progress_is_reported_page_by_page():
    progress = []
    compared({}, page(0, 5), page(5, 10), on_progress=lambda *counts: progress.append(counts))
    assert progress == [(5, 10), (10, 10)]


def test_a_changed_question_has_both_answers():
    (changed,) = compared({"q1": handed_off()}, page(0, 3)).changed
    document = changed.document()
    assert (document["key"], document["question"], document["change"]) == (
        "T-1",
        "q1",
        "handed_off",
    )
    assert "scope" in document["first"]
    assert (document["first"]["entry_id"], document["second"]["reason"]) == ("track", "ambiguous")
