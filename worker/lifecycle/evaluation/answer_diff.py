"""What changes for customers when one version takes another's place: both answer, side by side."""

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

MOVED = 0.05  # a confidence that moved by less is the same


class Change(StrEnum):
    """What became of a question, the weightiest kind first."""

    OTHER_ENTRY = "other_entry"
    OTHER_ANSWER = "other_answer"  # the same entry says something else
    HANDED_OFF = "handed_off"  # it was answered
    ANSWERED = "answered"  # it was handed off
    CONFIDENCE = "confidence"  # it moved, nothing else did
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Changed:
    """A question with both of its answers."""

    key: str
    question: str
    change: Change
    first: Answer
    second: Answer

    def document(self) -> dict[str, Any]:
        """Return what `model diff --json` tells of it."""
        answers = {"first": asdict(self.first), "second": asdict(self.second)}
        return {"key": self.key, "question": self.question, "change": self.change, **answers}


@dataclass(frozen=True, slots=True)
class Difference:
    """What two versions say to the same questions."""

    first: str
    second: str
    title: str  # whose questions
    questions: int
    counts: dict[Change, int]
    changed: list[Changed]  # of each kind as many as were wanted, in the questions' order


def kind_of(first: Answer, second: Answer) -> Change:
    """Return what has changed between two answers to a question."""
    if first.status is not second.status:
        return Change.ANSWERED if second.status is Status.ANSWERED else Change.HANDED_OFF
    if first.entry_id != second.entry_id:
        return Change.OTHER_ENTRY
    if first.answer != second.answer:
        return Change.OTHER_ANSWER
    moved = abs((first.confidence or 0.0) - (second.confidence or 0.0))
    return Change.CONFIDENCE if moved >= MOVED else Change.SAME


def diff_answers(
    both: Sequence[AnsweringModel],
    asked: QuestionSource,
    question_chars: int,
    *,
    limit: int | None,
    hear: Callable[[int, int], None],
) -> Difference:
    """Let both answer, and compare.

    Args:
        both: what is there, and what may take its place.
        asked: the questions.
        question_chars: a longer one is handed off by any version.
        limit: how many changed questions of each kind are kept; None: all.
        hear: hears how many questions both have answered, and how many there are.
    """
    counts: Counter[Change] = Counter()
    changed = []
    for page in asked.pages:
        texts = [text for _, text in page]
        answers = [answer_questions(model, texts, question_chars, _unheard) for model in both]
        for (key, text), one, other in zip(page, *answers, strict=True):
            change = kind_of(one, other)
            if change is not Change.SAME and (limit is None or counts[change] < limit):
                changed.append(Changed(key, text, change, one, other))
            counts[change] += 1
        hear(counts.total(), asked.count)
    found = {change: counts[change] for change in Change}
    names = [model.version for model in both]
    return Difference(names[0], names[1], asked.title, counts.total(), found, changed)


def _unheard(_done: int, _size: int) -> None:
    """Pages are small enough to be told as wholes."""
