"""Calibration of a version's confidence, and the choice of its threshold.

Four kinds of questions count: phrasings left out of the index, phrasings whose whole entry
was left out (near), questions that belong to no shop (out of scope), and labelled questions.
Two logistic regressions are fitted to a mix in which `OUT_OF_SCOPE_SHARE` of the questions
have no entry, half of them near. Labelled questions keep their own mix and weigh more: real
questions are less varied than the phrasings of a small knowledge base (docs/log.md).

The threshold is the least confidence at which the answers of the mix are as precise as the
target, and at least `EVEN_ODDS`. The scope cut gives each hand-off its reason. It is fitted on
hand-offs, because with few questions assumed out of scope few scopes are below even odds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from worker.lifecycle.build.fit import Flags, LabelledPredictions
from worker.lifecycle.build.options import PRECISION_TARGET
from worker.model.retrieval.confidence import (
    DECIMALS,
    UNCALIBRATED,
    Confidence,
    Doubles,
    LogisticCurve,
)

OUT_OF_SCOPE_SHARE = 0.03  # of the questions; higher: more hand-offs, fewer answers
LABELLED_WEIGHT = 9.0  # of a labelled file; higher: the phrasings count less
EVEN_ODDS = 0.5
MIN_QUESTIONS = 20  # right ones, and out of scope ones; with fewer nothing is fitted
_BINS = 15


@dataclass(frozen=True)
class CalibrationSet:
    """The predictions that calibration is fitted to, by kind of question."""

    known: LabelledPredictions  # left-out phrasings
    near: LabelledPredictions  # phrasings whose entry was left out
    out_of_scope: LabelledPredictions
    labelled: LabelledPredictions  # of a file
    labelled_in_scope: Flags


@dataclass(frozen=True)
class Calibration:
    """The fitted curves, the threshold, and the metrics on the questions."""

    confidence: Confidence
    threshold: float
    metrics: dict[str, float | bool | None]  # None: not defined
    scope_cut: float = EVEN_ODDS  # hand-offs with a lower scope count as out of scope


@dataclass(frozen=True)
class _WeightedPredictions:
    """All predictions of a calibration set in one table."""

    features: Doubles
    right: Flags
    in_scope: Flags
    weights: Doubles


def calibrate(questions: CalibrationSet, precision_target: float = PRECISION_TARGET) -> Calibration:
    """Fit the curves and choose the threshold."""
    table = _weighted(questions)
    if min(int(table.right.sum()), int((~table.in_scope).sum())) < MIN_QUESTIONS:
        metrics = _metrics(questions, UNCALIBRATED, EVEN_ODDS, table)
        return Calibration(UNCALIBRATED, EVEN_ODDS, metrics)
    known = table.in_scope
    scope = _curve(table.features, table.in_scope, table.weights)
    right = _curve(table.features[known], table.right[known], table.weights[known])
    confidence = Confidence(scope, right)
    confidences, scopes = confidence.chances(table.features)
    threshold = _threshold(confidences, table, precision_target)
    cut = _scope_cut(scopes, confidences < threshold, table)
    return Calibration(
        confidence, threshold, _metrics(questions, confidence, threshold, table), cut
    )


def _weighted(questions: CalibrationSet) -> _WeightedPredictions:
    parts = [questions.known, questions.near, questions.out_of_scope, questions.labelled]
    counts = [len(part.right) for part in parts]
    known, near, out_of_scope, _ = counts
    kinds = max(1, sum(count > 0 for count in (near, out_of_scope)))
    without_entry = OUT_OF_SCOPE_SHARE / kinds
    shares = [1 - OUT_OF_SCOPE_SHARE, without_entry, without_entry, LABELLED_WEIGHT]
    weights = np.concatenate(
        [np.full(count, share / max(1, count)) for count, share in zip(counts, shares, strict=True)]
    )
    joined = LabelledPredictions.join(parts)
    in_scope = np.r_[
        np.ones(known, bool), np.zeros(near + out_of_scope, bool), questions.labelled_in_scope
    ]
    mean_one = weights * len(weights) / max(weights.sum(), 1e-9)
    return _WeightedPredictions(joined.features, joined.right, in_scope, mean_one)


def _curve(features: Doubles, true: Flags, weights: Doubles) -> LogisticCurve:
    """Fit a logistic regression, and return it for unscaled features."""
    if true.all():  # a single class: use Laplace's rule of succession
        return LogisticCurve(float(np.log(len(true) + 1)), [0.0] * features.shape[1])
    scaler = StandardScaler().fit(features, sample_weight=weights)
    model = LogisticRegression().fit(scaler.transform(features), true, sample_weight=weights)
    slopes = model.coef_[0] / scaler.scale_
    bias = model.intercept_[0] - float(slopes @ scaler.mean_)
    return LogisticCurve(round(float(bias), 6), [round(float(slope), 6) for slope in slopes])


def _threshold(confidences: Doubles, table: _WeightedPredictions, target: float) -> float:
    order = np.argsort(-confidences, kind="stable")
    right = np.cumsum((table.right * table.weights)[order])
    precise = right / np.cumsum(table.weights[order]) >= target
    least = confidences[order][precise][-1] if precise.any() else confidences.max()
    return float(max(least, EVEN_ODDS))


def _scope_cut(scopes: Doubles, handed_off: Flags, table: _WeightedPredictions) -> float:
    """Return the scope that best separates hand-offs with and without entry.

    Both classes have the same total weight, however few questions one of them has.
    """
    scopes, in_scope = scopes[handed_off], table.in_scope[handed_off]
    weights = table.weights[handed_off]
    totals = [np.bincount(in_scope, weights=weights, minlength=2)[kind] for kind in (0, 1)]
    if not min(totals):
        return EVEN_ODDS
    order = np.argsort(scopes, kind="stable")
    signs = np.where(in_scope, -weights / totals[1], weights / totals[0])
    gains = np.r_[0.0, np.cumsum(signs[order])]
    ends = np.r_[True, np.diff(scopes[order]) > 0, True]  # equal scopes stay together
    best = int(np.argmax(np.where(ends, gains, -1.0)))
    return float(scopes[order][best]) if best < len(order) else 1.0


def _metrics(
    questions: CalibrationSet,
    confidence: Confidence,
    threshold: float,
    table: _WeightedPredictions,
) -> dict[str, float | bool | None]:
    parts = (questions.known, questions.near, questions.out_of_scope, table)
    known, near, out_of_scope, every = (confidence.chances(part.features)[0] for part in parts)
    answered = every >= threshold
    return {
        "calibrated": confidence is not UNCALIBRATED,
        "cv_accuracy": _mean(questions.known.right),
        "cv_precision": _mean(table.right[answered], table.weights[answered]),
        "cv_coverage": _mean(known >= threshold),
        "near_handoff_recall": _mean(near < threshold),
        "far_handoff_recall": _mean(out_of_scope < threshold),
        "near_auroc": _auroc(confidence, questions.known, questions.near),
        "far_auroc": _auroc(confidence, questions.known, questions.out_of_scope),
        "ece": _calibration_error(every, table),
    }


def _mean(values: NDArray[np.bool_], weights: Doubles | None = None) -> float | None:
    return round(float(np.average(values, weights=weights)), DECIMALS) if len(values) else None


def _auroc(
    confidence: Confidence, known: LabelledPredictions, without_entry: LabelledPredictions
) -> float | None:
    if not (len(known.right) and len(without_entry.right)):
        return None
    scope = confidence.scope.chances(LabelledPredictions.join([known, without_entry]).features)
    in_scope = np.arange(len(scope)) < len(known.right)
    return round(float(roc_auc_score(in_scope, scope)), DECIMALS)


def _calibration_error(confidences: Doubles, table: _WeightedPredictions) -> float | None:
    if not len(confidences):
        return None
    bins = np.minimum((confidences * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=(confidences - table.right) * table.weights, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / table.weights.sum()), DECIMALS)
