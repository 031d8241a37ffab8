"""The figures of an evaluation: pure functions of what was expected and what came.

`Report` defines each of them. What a hand-off would have been answered with counts as its
best entry, since a worker stores it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.domain.result import Answer, AnswerSource, Status
from worker.lifecycle.inputs.labelled_questions import Labelled, QuestionScope

Flags = NDArray[np.bool_]
Confidences = NDArray[np.float64]

_BINS = 15
_DECIMALS = 4


@dataclass(frozen=True)
class EntryFigures:
    """How the questions of one entry went; a question with several counts in each."""

    entry: str
    questions: int
    right: int  # the best entry is an expected one, answered or not
    answered: int
    confused_with: str | None = None  # the best entry, where it is wrong, most often
    confused: int = 0  # how often it is that one

    @property
    def wrong(self) -> int:
        """Questions whose best entry is none of the expected."""
        return self.questions - self.right


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured; None where it isn't defined for these questions."""

    questions: int
    accuracy: float | None  # the best entry is an expected one; of those with an expected one
    answered: int
    precision: float | None  # of the answered, out of scope ones included
    coverage: float | None  # answered, of those with an expected entry
    handoff_recall: float | None  # handed off, of those without
    auroc: float | None  # of telling the two kinds apart by the scope
    ece: float | None  # expected calibration error of the best entry being right, 15 bins
    threshold: float
    questions_per_second: float | None
    cascade_share: float | None = None  # answered without the encoder, by the cascade
    handoff_recall_near: float | None = None  # of those without that are labelled near
    handoff_recall_far: float | None = None
    entries: list[EntryFigures] = field(default_factory=list)  # by id
    reasons: dict[str, int] = field(default_factory=dict)  # hand-offs by reason, most first


@dataclass(frozen=True)
class Bin:
    """Questions whose confidence lies between two values."""

    low: float
    high: float
    count: int
    confidence: float  # the mean of their confidence
    right: float  # the share whose best entry is an expected one


@dataclass(frozen=True)
class EvaluationOutcomes:
    """What was expected and what came, as columns."""

    in_scope: Flags
    right: Flags  # without an expected entry nothing is right
    answered: Flags
    confidence: Confidences  # 0 where the model named no entry
    scope: Confidences  # the same

    @classmethod
    def of(cls, labelled: Sequence[Labelled], answers: Sequence[Answer]) -> EvaluationOutcomes:
        """Compare answers with what was expected."""
        pairs = list(zip(labelled, answers, strict=True))
        return cls(
            in_scope=np.array([bool(row.expected) for row, _ in pairs], bool),
            right=np.array([answer.entry_id in row.expected for row, answer in pairs], bool),
            answered=np.array([answer.status is Status.ANSWERED for answer in answers], bool),
            confidence=np.array([answer.confidence or 0.0 for answer in answers]),
            scope=np.array([answer.scope or 0.0 for answer in answers]),
        )


def measure(
    labelled: Sequence[Labelled], answers: Sequence[Answer], threshold: float, rate: float | None
) -> EvaluationReport:
    """Compare answers with what was expected.

    Args:
        labelled: what was expected.
        answers: what came, in the same order.
        threshold: the model version's.
        rate: questions a second, if it was timed.
    """
    found = EvaluationOutcomes.of(labelled, answers)
    scopes = np.array([row.scope or "" for row in labelled])
    handed_off = ~found.answered
    return EvaluationReport(
        questions=len(labelled),
        accuracy=_share(found.right[found.in_scope]),
        answered=int(found.answered.sum()),
        precision=_share(found.right[found.answered]),
        coverage=_share(found.answered[found.in_scope]),
        handoff_recall=_share(handed_off[~found.in_scope]),
        auroc=_auroc(found.in_scope, found.scope),
        ece=_calibration_error(bins(found)),
        threshold=threshold,
        questions_per_second=rate,
        cascade_share=_share(
            np.array([answer.via is AnswerSource.CASCADE for answer in answers], bool)
        ),
        handoff_recall_near=_share(handed_off[scopes == QuestionScope.NEAR]),
        handoff_recall_far=_share(handed_off[scopes == QuestionScope.FAR]),
        entries=list(_by_entry(labelled, answers)),
        reasons=dict(Counter(answer.reason for answer in answers if answer.reason).most_common()),
    )


def bins(found: EvaluationOutcomes) -> list[Bin]:
    """Put the questions into bins of equal width by confidence; empty bins are left out."""
    places = np.minimum((found.confidence * _BINS).astype(np.int64), _BINS - 1)
    filled = []
    for place in np.unique(places):
        inside = places == place
        sure, right = found.confidence[inside].mean(), found.right[inside].mean()
        low, high = place / _BINS, (place + 1) / _BINS
        filled.append(Bin(low, high, int(inside.sum()), float(sure), float(right)))
    return filled


def worst(entries: Iterable[EntryFigures], count: int) -> list[EntryFigures]:
    """Return the entries with the most questions gone wrong, the worst first."""
    amiss = (entry for entry in entries if entry.wrong)
    return sorted(amiss, key=lambda entry: (-entry.wrong, entry.right, entry.entry))[:count]


def _by_entry(labelled: Sequence[Labelled], answers: Sequence[Answer]) -> Iterator[EntryFigures]:
    questions, right, answered = Counter[str](), Counter[str](), Counter[str]()
    wrong: dict[str, Counter[str]] = {}
    for row, answer in zip(labelled, answers, strict=True):
        questions.update(row.expected)
        if answer.status is Status.ANSWERED:
            answered.update(row.expected)
        if answer.entry_id in row.expected:
            right.update(row.expected)
        elif answer.entry_id:
            for entry in row.expected:
                wrong.setdefault(entry, Counter())[answer.entry_id] += 1
    for entry in sorted(questions):
        other, times = _most(wrong.get(entry, Counter()))
        yield EntryFigures(entry, questions[entry], right[entry], answered[entry], other, times)


def _most(counts: Counter[str]) -> tuple[str | None, int]:
    # Of equals the first by name, so that the same answers make the same report.
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return (ranked[0], counts[ranked[0]]) if ranked else (None, 0)


def _share(flags: Flags) -> float | None:
    return round(float(flags.mean()), _DECIMALS) if len(flags) else None


def _auroc(in_scope: Flags, scope: Confidences) -> float | None:
    if in_scope.all() or not in_scope.any():
        return None
    from sklearn.metrics import roc_auc_score  # a second to import

    return round(float(roc_auc_score(in_scope, scope)), _DECIMALS)


def _calibration_error(filled: Sequence[Bin]) -> float | None:
    if not filled:
        return None
    gaps = sum(each.count * abs(each.confidence - each.right) for each in filled)
    return round(gaps / sum(each.count for each in filled), _DECIMALS)
