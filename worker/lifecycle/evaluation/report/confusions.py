"""Confusions of one entry with another, with the most confident examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.domain.result import Answer, Status
from worker.lifecycle.inputs.labelled_questions import Labelled

_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A question whose best entry is wrong."""

    question: str
    confidence: float
    answered: bool  # False: handed off, so the customer got no wrong answer


@dataclass(frozen=True)
class Confusion:
    """Questions of one entry, or of none, whose best entry is another."""

    expected: list[str]  # acceptable entries; none: a hand-off is right
    chosen: str
    count: int
    answered: int
    examples: list[Example]  # the most confident first


def confusions(labelled: Sequence[Labelled], answers: Sequence[Answer]) -> list[Confusion]:
    """Return the confusions, the most frequent first.

    A question that has no entry counts only if it was answered, because any best entry is
    wrong for it.
    """
    by_pair: dict[tuple[tuple[str, ...], str], list[Example]] = {}
    for row, answer in zip(labelled, answers, strict=True):
        answered = answer.status is Status.ANSWERED
        wrong = bool(answer.entry_id) and answer.entry_id not in row.expected
        if wrong and (row.expected or answered):
            pair = tuple(sorted(row.expected)), str(answer.entry_id)
            example = Example(row.question, answer.confidence or 0.0, answered)
            by_pair.setdefault(pair, []).append(example)
    return sorted(_confusions(by_pair), key=lambda each: (-each.count, -each.answered))


def _confusions(
    by_pair: dict[tuple[tuple[str, ...], str], list[Example]],
) -> Iterable[Confusion]:
    for (expected, chosen), examples in sorted(by_pair.items()):
        answered = sum(example.answered for example in examples)
        ranked = sorted(examples, key=lambda example: -example.confidence)
        yield Confusion(list(expected), chosen, len(examples), answered, ranked[:_MAX_EXAMPLES])
