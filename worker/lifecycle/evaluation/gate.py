"""The gate: figures of a candidate beside those of the version in production.

On labelled questions both are evaluated, and timed in turns, so that whatever else the
machine does slows both. Without them, the figures of cross-validation that both builds
have left in `metrics` are compared; knowledge bases that differ make those harder or
easier, so labelled questions say more. Coverage on labelled questions is shown, but not
judged: a higher threshold lowers it on purpose.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from worker.inference.passes import answer_texts
from worker.inference.protocol import AnsweringModel
from worker.lifecycle.evaluation.evaluate import evaluate

if TYPE_CHECKING:
    from core.domain.model_version import ModelVersion
    from worker.lifecycle.inputs.labelled_questions import Labelled
    from worker.model.loaded_model import LoadedModel

SPEED = "questions_per_second"
JUDGED = ("accuracy", "precision", "handoff_recall")
SHOWN = "coverage"
CROSS_VALIDATED = (
    "left_out_accuracy",
    "cv_accuracy",
    "cv_precision",
    "near_handoff_recall",
)

# What figures were compared on.
QUESTIONS, BUILDS, NOTHING = "labelled questions", "cross-validation", "nothing"

_ROUNDS = 9  # of timing; more: steadier, and a longer wait
_TURN_SECONDS = 0.3  # least
_TIMED_QUESTIONS = 64  # most, in a turn's one go
_NOISE = 1e-9  # of subtracting two decimals

ProgressCallback = Callable[[int, int], None]  # questions answered, questions in all


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be."""

    shares: float = 0.01  # of shares, absolute
    speed: float = 0.2  # of the speed in production


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One figure of both; None where it isn't defined, as the precision of no answers."""

    figure: str
    production: float | None
    candidate: float | None
    margin: float | None  # None: shown, not judged
    worse: bool = False  # by more than the margin

    def __str__(self) -> str:
        """Return it with both values and the margin, for the line that refuses."""
        values = f"{self.figure} {self.candidate} against {self.production}"
        return f"{values} (margin {self.margin})"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found."""

    basis: str
    production: str | None
    compared: list[MetricComparison]
    about: dict[str, Any] = field(default_factory=dict)  # the labelled file

    @property
    def worse(self) -> list[MetricComparison]:
        """Return the figures that are worse by more than their margin."""
        return [figure for figure in self.compared if figure.worse]

    def document(self) -> dict[str, Any]:
        """Return what is kept of it in SQL."""
        return asdict(self)


def compare_metrics(both: Sequence[ModelVersion], margins: Margins) -> GateResult:
    """Compare what the builds of both have found by cross-validation, the candidate's first."""
    if len(both) == 1:
        return GateResult(NOTHING, None, [])
    ours, theirs = (version.metrics for version in both)
    names = [n for n in CROSS_VALIDATED if ours.get(n) is not None and theirs.get(n) is not None]
    compared = [_share(name, theirs[name], ours[name], margins.shares) for name in names]
    return GateResult(BUILDS if compared else NOTHING, str(both[1]), compared)


def compare_on_questions(
    both: Sequence[LoadedModel],
    labelled: Sequence[Labelled],
    question_chars: int,
    margins: Margins,
    hear: ProgressCallback,
) -> GateResult:
    """Evaluate the candidate, and behind it the version in production if there is one.

    A candidate alone is measured and not judged.
    """
    figures = []
    for place, model in enumerate(both):
        heard = partial(_hear, hear, place * len(labelled), len(both) * len(labelled))
        figures.append(asdict(evaluate(model, labelled, question_chars, heard)))
    if len(both) == 1:
        alone = [MetricComparison(name, None, figures[0][name], None) for name in (*JUDGED, SHOWN)]
        return GateResult(QUESTIONS, None, alone)
    ours, theirs = figures
    compared = [_share(name, theirs[name], ours[name], margins.shares) for name in JUDGED]
    compared.append(MetricComparison(SHOWN, theirs[SHOWN], ours[SHOWN], None))
    texts = [row.question for row in labelled if len(row.question) <= question_chars]
    if texts:
        compared.append(_speed(speeds(both, texts), margins.speed))
    return GateResult(QUESTIONS, both[1].version, compared)


def _hear(hear: ProgressCallback, before: int, total: int, done: int) -> None:
    hear(before + done, total)


def _share(
    figure: str, production: float | None, ours: float | None, margin: float
) -> MetricComparison:
    # Where production has a figure and the candidate has none, it answers nothing at all.
    worse = production is not None and (ours is None or production - ours > margin + _NOISE)
    return MetricComparison(figure, production, ours, margin, worse)


def _speed(rates: Sequence[float], margin: float) -> MetricComparison:
    ours, production = rates
    return MetricComparison(SPEED, production, ours, margin, ours < production * (1 - margin))


def speeds(both: Sequence[AnsweringModel], texts: Sequence[str]) -> tuple[float, float]:
    """Return the questions/s of both, from turns that alternate.

    The second's is its median. The first's is that times the median of how many times as fast
    it was in each round: the steadiest of what was tried on a busy machine (docs/log.md).
    """
    step = max(1, len(texts) // _TIMED_QUESTIONS)
    sample = texts[::step][:_TIMED_QUESTIONS]
    rounds = []
    for turn in range(_ROUNDS):
        order = both if turn % 2 else both[::-1]
        rates = [_rate(model, sample) for model in order]
        rounds.append(rates if turn % 2 else rates[::-1])
    second = statistics.median(rate for _, rate in rounds)
    ratio = statistics.median(one / other for one, other in rounds)
    return round(second * ratio, 1), round(second, 1)


def _rate(model: AnsweringModel, texts: Sequence[str]) -> float:
    started, answered = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < _TURN_SECONDS:
        answer_texts(model, texts)
        answered += len(texts)
    return answered / seconds
