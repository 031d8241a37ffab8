"""The metrics of an evaluation, as pure functions of labels and answers.

`EvaluationReport` defines each metric. For a hand-off, the entry that the model would have
answered with counts as its best entry, since a worker stores it too.
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
class EntryMetrics:
    """The metrics of one entry.

    A question with several entries counts in each.
    """

    entry: str
    questions: int
    right: int  # the best entry is an expected one, answered or not
    answered: int
    confused_with: str | None = None  # the most frequent wrong best entry
    confused: int = 0  # questions with that best entry

    @property
    def wrong(self) -> int:
        """Questions whose best entry is none of the expected."""
        return self.questions - self.right


@dataclass(frozen=True)
class EvaluationReport:
    """The metrics of an evaluation, None if not defined for its questions."""

    questions: int
    accuracy: float | None  # of those with an expected entry: the best entry is an expected one
    answered: int
    precision: float | None  # right ones of the answered, out-of-scope questions included
    coverage: float | None  # answered ones of those with an expected entry
    handoff_recall: float | None  # handed off ones of those without an expected entry
    auroc: float | None  # of the scope, as a classifier of questions with an expected entry
    ece: float | None  # expected calibration error of the best entry being right, 15 bins
    threshold: float
    questions_per_second: float | None
    cascade_share: float | None = None  # answered by the cascade, without the encoder
    handoff_recall_near: float | None = None  # of those without an entry, labelled near
    handoff_recall_far: float | None = None
    entries: list[EntryMetrics] = field(default_factory=list)  # by id
    reasons: dict[str, int] = field(default_factory=dict)  # hand-offs by reason, most first


@dataclass(frozen=True)
class Bin:
    """The questions whose confidence lies between two values."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    right: float  # the share whose best entry is an expected one


@dataclass(frozen=True)
class EvaluationOutcomes:
    """The expected and the actual outcome of each question, as columns."""

    in_scope: Flags
    right: Flags  # False without an expected entry
    answered: Flags
    confidence: Confidences  # 0 if the model named no entry
    scope: Confidences  # the same

    @classmethod
    def of(cls, labelled: Sequence[Labelled], answers: Sequence[Answer]) -> EvaluationOutcomes:
        """Compare answers with labels, both in the same order."""
        pairs = list(zip(labelled, answers, strict=True))
        return cls(
            in_scope=np.array([bool(row.expected) for row, _ in pairs], bool),
            right=np.array([answer.entry_id in row.expected for row, answer in pairs], bool),
            answered=np.array([answer.status is Status.ANSWERED for answer in answers], bool),
            confidence=np.array([answer.confidence or 0.0 for answer in answers]),
            scope=np.array([answer.in_scope_probability or 0.0 for answer in answers]),
        )


def measure(
    labelled: Sequence[Labelled], answers: Sequence[Answer], threshold: float, rate: float | None
) -> EvaluationReport:
    """Measure answers against labels.

    Args:
        labelled: the questions and their expected entries.
        answers: the answers, in the same order.
        threshold: the model version's.
        rate: questions per second; None: not timed.
    """
    outcomes = EvaluationOutcomes.of(labelled, answers)
    scopes = np.array([row.scope or "" for row in labelled])
    handed_off = ~outcomes.answered
    by_cascade = np.array([answer.via is AnswerSource.CASCADE for answer in answers], bool)
    return EvaluationReport(
        questions=len(labelled),
        accuracy=_share(outcomes.right[outcomes.in_scope]),
        answered=int(outcomes.answered.sum()),
        precision=_share(outcomes.right[outcomes.answered]),
        coverage=_share(outcomes.answered[outcomes.in_scope]),
        handoff_recall=_share(handed_off[~outcomes.in_scope]),
        auroc=_auroc(outcomes.in_scope, outcomes.scope),
        ece=_calibration_error(bins(outcomes)),
        threshold=threshold,
        questions_per_second=rate,
        cascade_share=_share(by_cascade),
        handoff_recall_near=_share(handed_off[scopes == QuestionScope.NEAR]),
        handoff_recall_far=_share(handed_off[scopes == QuestionScope.FAR]),
        entries=list(_by_entry(labelled, answers)),
        reasons=dict(Counter(answer.reason for answer in answers if answer.reason).most_common()),
    )


def bins(outcomes: EvaluationOutcomes) -> list[Bin]:
    """Group the questions into non-empty bins of equal confidence width."""
    numbers = np.minimum((outcomes.confidence * _BINS).astype(np.int64), _BINS - 1)
    filled = []
    for number in np.unique(numbers):
        members = numbers == number
        confidence = float(outcomes.confidence[members].mean())
        right = float(outcomes.right[members].mean())
        low, high = number / _BINS, (number + 1) / _BINS
        filled.append(Bin(low, high, int(members.sum()), confidence, right))
    return filled


def worst(entries: Iterable[EntryMetrics], count: int) -> list[EntryMetrics]:
    """Return the entries with the most wrong questions, the worst first."""
    faulty = (entry for entry in entries if entry.wrong)
    return sorted(faulty, key=lambda entry: (-entry.wrong, entry.right, entry.entry))[:count]


def _by_entry(labelled: Sequence[Labelled], answers: Sequence[Answer]) -> Iterator[EntryMetrics]:
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
        other, count = _most_frequent(wrong.get(entry, Counter()))
        yield EntryMetrics(entry, questions[entry], right[entry], answered[entry], other, count)


def _most_frequent(counts: Counter[str]) -> tuple[str | None, int]:
    # Ties go to the first by name, so that the same answers give the same report.
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return (ranked[0], counts[ranked[0]]) if ranked else (None, 0)


def _share(flags: Flags) -> float | None:
    return round(float(flags.mean()), _DECIMALS) if len(flags) else None


def _auroc(in_scope: Flags, scope: Confidences) -> float | None:
    if in_scope.all() or not in_scope.any():
        return None
    from sklearn.metrics import roc_auc_score  # takes a second to import

    return round(float(roc_auc_score(in_scope, scope)), _DECIMALS)


def _calibration_error(filled: Sequence[Bin]) -> float | None:
    if not filled:
        return None
    gaps = sum(each.count * abs(each.confidence - each.right) for each in filled)
    return round(gaps / sum(each.count for each in filled), _DECIMALS)
