"""What changes from one version to another, with models that are told what to say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from core.domain.result import Answer, Status
from worker.inference.protocol import PassBudget
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


@dataclass
class Told:
    """Says what it was told, else that nothing changed."""

    version: str
    says: dict[str, Answer] = field(default_factory=dict)
    budget: PassBudget = field(default_factory=lambda: PassBudget(tokens=64, questions=8))

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[1] for _ in texts]

    def encode(self, tokens):
        return np.zeros((len(tokens), 1), np.float32)

    def decide(self, texts, embeddings):
        assert len(texts) == len(embeddings)
        return [self.says.get(text, answered()) for text in texts]


def asked(*pages):
    return QuestionSource("batch 1 (b)", sum(map(len, pages)), iter(pages))


def page(first, last):
    return [(f"T-{n}", f"q{n}") for n in range(first, last)]


def compared(says, *pages, limit=None, hear=lambda *_: None):
    both = [Told("shop@1"), Told("shop@2", says)]
    return diff_answers(both, asked(*pages), 100, limit=limit, hear=hear)


def test_questions_are_counted_by_kind_and_the_changed_ones_kept():
    says = {"q3": handed_off(), "q7": answered("refund"), "q8": answered("refund")}
    found = compared(says, page(0, 5), page(5, 10))
    assert (found.first, found.second, found.questions) == ("shop@1", "shop@2", 10)
    assert {change: n for change, n in found.counts.items() if n} == {
        Change.OTHER_ENTRY: 2,
        Change.HANDED_OFF: 1,
        Change.SAME: 7,
    }
    assert [(one.key, one.question, one.change) for one in found.changed] == [
        ("T-3", "q3", Change.HANDED_OFF),
        ("T-7", "q7", Change.OTHER_ENTRY),
        ("T-8", "q8", Change.OTHER_ENTRY),
    ]
    assert (found.changed[0].first, found.changed[0].second) == (answered(), handed_off())


def test_of_each_kind_only_so_many_are_kept_but_all_are_counted():
    says = {f"q{n}": answered("refund") for n in range(50)} | {"q60": handed_off()}
    found = compared(says, page(0, 100), limit=2)
    assert [one.key for one in found.changed] == ["T-0", "T-1", "T-60"]
    assert found.counts[Change.OTHER_ENTRY] == 50


def test_what_never_reaches_a_model_is_the_same():
    says = {"x" * 101: answered("refund")}
    found = compared(says, [("1", " "), ("2", ""), ("3", "x" * 101)])
    assert found.counts[Change.SAME] == 3


def test_progress_is_told_page_by_page():
    heard = []
    compared({}, page(0, 5), page(5, 10), hear=lambda *told: heard.append(told))
    assert heard == [(5, 10), (10, 10)]


def test_a_changed_question_is_told_with_both_answers():
    (one,) = compared({"q1": handed_off()}, page(0, 3)).changed
    told = one.document()
    assert (told["key"], told["question"], told["change"]) == ("T-1", "q1", "handed_off")
    assert (told["first"]["entry_id"], told["second"]["reason"]) == ("track", "ambiguous")
