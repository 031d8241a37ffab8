"""The gate: metrics of a candidate compared with those of production.

With labelled questions, both versions are evaluated, and timed in alternating turns, so that
other load on the machine slows both. Without them, the cross-validation metrics of both
builds are compared. Different knowledge bases make those harder or easier, so labelled
questions are the better test. Coverage on labelled questions is shown but not judged, because
a higher threshold lowers it on purpose.
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

# The basis of a comparison.
QUESTIONS, BUILDS, NOTHING = "labelled questions", "cross-validation", "nothing"

_ROUNDS = 9  # of timing; higher: steadier, a longer wait
_MIN_TURN_SECONDS = 0.3
_MAX_TIMED_QUESTIONS = 64
_ROUNDING = 1e-9  # error of the difference of two decimals

ProgressCallback = Callable[[int, int], None]  # questions answered, questions in all


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a candidate may be."""

    shares: float = 0.01  # absolute, for metrics that are shares
    speed: float = 0.2  # relative to the speed in production


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric of both versions.

    A value is None if it is not defined, as the precision of no answers.
    """

    figure: str  # the name of the metric
    production: float | None
    candidate: float | None
    margin: float | None  # None: shown, not judged
    worse: bool = False  # by more than the margin

    def __str__(self) -> str:
        """Return both values and the margin, for the error of a refused promotion."""
        values = f"{self.figure} {self.candidate} against {self.production}"
        return f"{values} (margin {self.margin})"


@dataclass(frozen=True, slots=True)
class GateResult:
    """The comparison of a candidate with production."""

    basis: str
    production: str | None
    compared: list[MetricComparison]
    about: dict[str, Any] = field(default_factory=dict)  # the labelled file

    @property
    def worse(self) -> list[MetricComparison]:
        """Return the metrics that are worse by more than their margin."""
        return [metric for metric in self.compared if metric.worse]

    def document(self) -> dict[str, Any]:
        """Return the JSON document that SQL keeps."""
        return asdict(self)


def compare_metrics(versions: Sequence[ModelVersion], margins: Margins) -> GateResult:
    """Compare the cross-validation metrics of the builds.

    Args:
        versions: the candidate, and the version in production if there is one.
        margins: the tolerated losses.
    """
    if len(versions) == 1:
        return GateResult(NOTHING, None, [])
    ours, theirs = (version.metrics for version in versions)
    compared = [
        _compare_share(name, theirs[name], ours[name], margins.shares)
        for name in CROSS_VALIDATED
        if ours.get(name) is not None and theirs.get(name) is not None
    ]
    return GateResult(BUILDS if compared else NOTHING, str(versions[1]), compared)


def compare_on_questions(
    models: Sequence[LoadedModel],
    labelled: Sequence[Labelled],
    question_chars: int,
    margins: Margins,
    on_progress: ProgressCallback,
) -> GateResult:
    """Evaluate and time both versions, and compare their metrics.

    A candidate alone is measured and not judged.

    Args:
        models: the candidate, and the version in production if there is one.
        labelled: the questions.
        question_chars: longest question, in characters; a longer one is handed off.
        margins: the tolerated losses.
        on_progress: called with the number of questions answered, and of all.
    """
    metrics = []
    for index, model in enumerate(models):
        done, total = index * len(labelled), len(models) * len(labelled)
        on_pass = partial(_report_progress, on_progress, done, total)
        metrics.append(asdict(evaluate(model, labelled, question_chars, on_pass)))
    if len(models) == 1:
        alone = [MetricComparison(name, None, metrics[0][name], None) for name in (*JUDGED, SHOWN)]
        return GateResult(QUESTIONS, None, alone)
    ours, theirs = metrics
    compared = [_compare_share(name, theirs[name], ours[name], margins.shares) for name in JUDGED]
    compared.append(MetricComparison(SHOWN, theirs[SHOWN], ours[SHOWN], None))
    texts = [row.question for row in labelled if len(row.question) <= question_chars]
    if texts:
        compared.append(_compare_speed(speeds(models, texts), margins.speed))
    return GateResult(QUESTIONS, models[1].version, compared)


def _report_progress(on_progress: ProgressCallback, before: int, total: int, done: int) -> None:
    on_progress(before + done, total)


def _compare_share(
    name: str, production: float | None, candidate: float | None, margin: float
) -> MetricComparison:
    # If production has a value and the candidate has none, the candidate answers nothing.
    worse = production is not None and (
        candidate is None or production - candidate > margin + _ROUNDING
    )
    return MetricComparison(name, production, candidate, margin, worse)


def _compare_speed(rates: Sequence[float], margin: float) -> MetricComparison:
    candidate, production = rates
    worse = candidate < production * (1 - margin)
    return MetricComparison(SPEED, production, candidate, margin, worse)


def speeds(models: Sequence[AnsweringModel], texts: Sequence[str]) -> tuple[float, float]:
    """Return questions per second of two models, timed in alternating turns.

    The second's speed is its median. The first's is that median times the median of the
    ratios of each round. Of the tried estimates this is the steadiest on a busy machine
    (docs/log.md).
    """
    step = max(1, len(texts) // _MAX_TIMED_QUESTIONS)
    sample = texts[::step][:_MAX_TIMED_QUESTIONS]
    rounds = []
    for turn in range(_ROUNDS):
        order = models if turn % 2 else models[::-1]
        rates = [_rate(model, sample) for model in order]
        rounds.append(rates if turn % 2 else rates[::-1])
    second = statistics.median(rate for _, rate in rounds)
    ratio = statistics.median(ours / theirs for ours, theirs in rounds)
    return round(second * ratio, 1), round(second, 1)


def _rate(model: AnsweringModel, texts: Sequence[str]) -> float:
    started, answered = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < _MIN_TURN_SECONDS:
        answer_texts(model, texts)
        answered += len(texts)
    return answered / seconds
