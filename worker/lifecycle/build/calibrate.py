"""Calibration: from what the index says of asked questions to chances and a threshold.

Four kinds of question are asked: phrasings that were left out, phrasings whose whole entry
was left out (near: the shop could be asked that), questions that belong to no shop (far),
and, if there is one, a labelled file. The chances are those of a mix in which
`OUT_OF_SCOPE` of the questions have no entry, half of them near and half far. A labelled
file brings its own share, and counts `LABELLED` times as much as all the rest: it is what
customers ask, while the phrasings of a small knowledge base were written to differ, so that
leaving one out makes the index look worse than it is (docs/log.md).

The threshold is the least confidence at which that mix's answers reach the precision asked
for, and no less than `EVENS`: what is more likely wrong than right is handed off. Why it is
handed off takes another cut, of the scope, between what of both kinds is handed off: with so few
questions assumed to have no entry, hardly any scope would be below evens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from worker.lifecycle.build.fit import Flags, LabelledPredictions
from worker.model.retrieval.confidence import (
    DECIMALS,
    UNCALIBRATED,
    Confidence,
    Doubles,
    LogisticCurve,
)

OUT_OF_SCOPE = 0.03  # of the questions; more: rather handed off, and fewer answered
LABELLED = 9.0  # how much a labelled file counts; more: the phrasings hardly matter
PRECISION_TARGET = 0.95
EVENS = 0.5
FEWEST = 20  # asked questions that a curve is fitted on
_BINS = 15


@dataclass(frozen=True)
class CalibrationSet:
    """Every asked question that calibration stands on."""

    known: LabelledPredictions  # left-out phrasings
    near: LabelledPredictions  # phrasings whose entry was left out
    out_of_scope: LabelledPredictions
    labelled: LabelledPredictions  # of a file
    labelled_in_scope: Flags


@dataclass(frozen=True)
class Calibration:
    """The curves, the threshold, and what can be expected of them."""

    confidence: Confidence
    threshold: float
    metrics: dict[str, float | bool | None]  # None where it isn't defined
    scope_cut: float = EVENS  # with less scope, what is handed off is so for having no entry


@dataclass(frozen=True)
class _Table:
    """All cases in one."""

    features: Doubles
    right: Flags
    in_scope: Flags
    weights: Doubles


def calibrate(cases: CalibrationSet, precision_target: float = PRECISION_TARGET) -> Calibration:
    """Fit the curves and choose the threshold."""
    table = _table(cases)
    if min(int(table.right.sum()), int((~table.in_scope).sum())) < FEWEST:
        return Calibration(UNCALIBRATED, EVENS, _metrics(cases, UNCALIBRATED, EVENS, table))
    known = table.in_scope
    scope = _curve(table.features, table.in_scope, table.weights)
    right = _curve(table.features[known], table.right[known], table.weights[known])
    confidence = Confidence(scope, right)
    sure, scopes = confidence.chances(table.features)
    threshold = _threshold(sure, table, precision_target)
    cut = _scope_cut(scopes, sure < threshold, table)
    return Calibration(confidence, threshold, _metrics(cases, confidence, threshold, table), cut)


def _table(cases: CalibrationSet) -> _Table:
    parts = [cases.known, cases.near, cases.out_of_scope, cases.labelled]
    known, near, far, labelled = (len(part.right) for part in parts)
    strangers = [n for n in (near, far) if n]
    shares = [
        1 - OUT_OF_SCOPE,
        *(OUT_OF_SCOPE / max(1, len(strangers)) for _ in (near, far)),
        LABELLED,
    ]
    counts = (known, near, far, labelled)
    weights = [np.full(n, share / max(1, n)) for n, share in zip(counts, shares, strict=True)]
    whole = LabelledPredictions.join(parts)
    in_scope = np.r_[np.ones(known, bool), np.zeros(near + far, bool), cases.labelled_in_scope]
    mixed = np.concatenate(weights)
    return _Table(
        whole.features, whole.right, in_scope, mixed * len(mixed) / max(mixed.sum(), 1e-9)
    )


def _curve(features: Doubles, true: Flags, weights: Doubles) -> LogisticCurve:
    """Fit a logistic regression, and write it for features that are not scaled."""
    if true.all():  # nothing to tell apart: Laplace's rule of succession
        return LogisticCurve(float(np.log(len(true) + 1)), [0.0] * features.shape[1])
    scaler = StandardScaler().fit(features, sample_weight=weights)
    model = LogisticRegression().fit(scaler.transform(features), true, sample_weight=weights)
    slopes = model.coef_[0] / scaler.scale_
    bias = model.intercept_[0] - float(slopes @ scaler.mean_)
    return LogisticCurve(round(float(bias), 6), [round(float(slope), 6) for slope in slopes])


def _threshold(sure: Doubles, table: _Table, target: float) -> float:
    order = np.argsort(-sure, kind="stable")
    right = np.cumsum((table.right * table.weights)[order])
    precise = right / np.cumsum(table.weights[order]) >= target
    least = sure[order][precise][-1] if precise.any() else sure.max()
    return float(max(least, EVENS))


def _scope_cut(scopes: Doubles, handed_off: Flags, table: _Table) -> float:
    """Return the scope that best tells, of what is handed off, what has an entry from the rest.

    Both kinds count alike, however few of one there are.
    """
    scopes, inside = scopes[handed_off], table.in_scope[handed_off]
    weights = table.weights[handed_off]
    kinds = [np.bincount(inside, weights=weights, minlength=2)[kind] for kind in (0, 1)]
    if not min(kinds):
        return EVENS
    order = np.argsort(scopes, kind="stable")
    signs = np.where(inside, -weights / kinds[1], weights / kinds[0])
    gains = np.r_[0.0, np.cumsum(signs[order])]
    ends = np.r_[True, np.diff(scopes[order]) > 0, True]  # equal scopes stay together
    best = int(np.argmax(np.where(ends, gains, -1.0)))
    return float(scopes[order][best]) if best < len(order) else 1.0


def _metrics(
    cases: CalibrationSet, confidence: Confidence, threshold: float, table: _Table
) -> dict[str, float | bool | None]:
    parts = (cases.known, cases.near, cases.out_of_scope, table)
    known, near, far, sure = (confidence.chances(part.features)[0] for part in parts)
    answered = sure >= threshold
    return {
        "calibrated": confidence is not UNCALIBRATED,
        "cv_accuracy": _mean(cases.known.right),
        "cv_precision": _mean(table.right[answered], table.weights[answered]),
        "cv_coverage": _mean(known >= threshold),
        "near_handoff_recall": _mean(near < threshold),
        "far_handoff_recall": _mean(far < threshold),
        "near_auroc": _auroc(confidence, cases.known, cases.near),
        "far_auroc": _auroc(confidence, cases.known, cases.out_of_scope),
        "ece": _calibration_error(sure, table),
    }


def _mean(values: NDArray[np.bool_], weights: Doubles | None = None) -> float | None:
    return round(float(np.average(values, weights=weights)), DECIMALS) if len(values) else None


def _auroc(
    confidence: Confidence, known: LabelledPredictions, strangers: LabelledPredictions
) -> float | None:
    if not (len(known.right) and len(strangers.right)):
        return None
    scope = confidence.scope.chances(LabelledPredictions.join([known, strangers]).features)
    true = np.arange(len(scope)) < len(known.right)
    return round(float(roc_auc_score(true, scope)), DECIMALS)


def _calibration_error(sure: Doubles, table: _Table) -> float | None:
    if not len(sure):
        return None
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=(sure - table.right) * table.weights, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / table.weights.sum()), DECIMALS)
