"""Comparison of the answers of two versions to the same questions.

Both versions answer every question, page by page, as a worker does. Not covered: which of two
different answers is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from core.domain.result import Answer, Status
from worker.inference.questions import answer_questions

if TYPE_CHECKING:
    from worker.inference.protocol import AnsweringModel
    from worker.lifecycle.inputs.question_source import QuestionSource

CONFIDENCE_CHANGE = 0.05  # least change of a confidence that is reported


class Change(StrEnum):
    """The kind of change of an answer, the most important first."""

    OTHER_ENTRY = "other_entry"
    OTHER_ANSWER = "other_answer"  # the same entry with another answer text
    HANDED_OFF = "handed_off"  # it was answered
    ANSWERED = "answered"  # it was handed off
    CONFIDENCE = "confidence"  # only the confidence changed
    SAME = "same"


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A question with the answers of both versions."""

    key: str
    question: str
    change: Change
    first: Answer
    second: Answer

    def document(self) -> dict[str, Any]:
        """Return the entry of `model diff --json`."""
        answers = {"first": _document(self.first), "second": _document(self.second)}
        return {"key": self.key, "question": self.question, "change": self.change, **answers}


def _document(answer: Answer) -> dict[str, Any]:
    """Return an answer under the keys of the JSON document."""
    keys = {"in_scope_probability": "scope"}
    return {keys.get(name, name): value for name, value in asdict(answer).items()}


@dataclass(frozen=True, slots=True)
class AnswerDiff:
    """The changes between two versions on the same questions."""

    first: str
    second: str
    title: str  # of the questions
    questions: int
    counts: dict[Change, int]
    changed: list[ChangedAnswer]  # limited per kind, in the order of the questions


def kind_of(first: Answer, second: Answer) -> Change:
    """Return the kind of change between two answers to a question."""
    if first.status is not second.status:
        return Change.ANSWERED if second.status is Status.ANSWERED else Change.HANDED_OFF
    if first.entry_id != second.entry_id:
        return Change.OTHER_ENTRY
    if first.answer != second.answer:
        return Change.OTHER_ANSWER
    difference = abs((first.confidence or 0.0) - (second.confidence or 0.0))
    return Change.CONFIDENCE if difference >= CONFIDENCE_CHANGE else Change.SAME


def diff_answers(
    models: Sequence[AnsweringModel],
    source: QuestionSource,
    question_chars: int,
    *,
    limit: int | None,
    on_progress: Callable[[int, int], None],
) -> AnswerDiff:
    """Answer the questions with both models, and compare the answers.

    Args:
        models: the first and the second version.
        source: the questions.
        question_chars: longest question, in characters; a longer one is handed off.
        limit: changed questions to keep of each kind; None: all.
        on_progress: called with the number of questions that both have answered, and of all.
    """
    counts: Counter[Change] = Counter()
    changed = []
    for page in source.pages:
        texts = [text for _, text in page]
        answers = [answer_questions(model, texts, question_chars, _ignore) for model in models]
        for (key, text), first, second in zip(page, *answers, strict=True):
            change = kind_of(first, second)
            if change is not Change.SAME and (limit is None or counts[change] < limit):
                changed.append(ChangedAnswer(key, text, change, first, second))
            counts[change] += 1
        on_progress(counts.total(), source.count)
    names = [model.version for model in models]
    by_kind = {change: counts[change] for change in Change}
    return AnswerDiff(names[0], names[1], source.title, counts.total(), by_kind, changed)


def _ignore(_done: int, _size: int) -> None:
    """Do nothing: progress is reported per page."""
