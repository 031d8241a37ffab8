"""Which entries were taken for which others, with the surest examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.domain.result import Answer, Status
from worker.lifecycle.inputs.labelled_questions import Labelled

_EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A question that went wrong."""

    question: str
    confidence: float
    answered: bool  # or handed off, so that nobody was told anything wrong


@dataclass(frozen=True)
class Confusion:
    """Questions of one entry, or of none, whose best entry was another."""

    expected: list[str]  # acceptable entries; none: should have been handed off
    chosen: str
    count: int
    answered: int
    examples: list[Example]  # the surest first


def confusions(labelled: Sequence[Labelled], answers: Sequence[Answer]) -> list[Confusion]:
    """Return the confusions, the most frequent first.

    A question that has no entry counts only if it was answered: its best entry is wrong
    whatever it is.
    """
    found: dict[tuple[tuple[str, ...], str], list[Example]] = {}
    for row, answer in zip(labelled, answers, strict=True):
        answered = answer.status is Status.ANSWERED
        wrong = bool(answer.entry_id) and answer.entry_id not in row.expected
        if wrong and (row.expected or answered):
            pair = tuple(sorted(row.expected)), str(answer.entry_id)
            example = Example(row.question, answer.confidence or 0.0, answered)
            found.setdefault(pair, []).append(example)
    return sorted(_confusions(found), key=lambda one: (-one.count, -one.answered))


def _confusions(
    found: dict[tuple[tuple[str, ...], str], list[Example]],
) -> Iterable[Confusion]:
    for (expected, chosen), examples in sorted(found.items()):
        answered = sum(example.answered for example in examples)
        surest = sorted(examples, key=lambda example: -example.confidence)[:_EXAMPLES]
        yield Confusion(list(expected), chosen, len(examples), answered, surest)
