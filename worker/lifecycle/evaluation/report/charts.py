"""The two diagrams of a report as numbers; the template draws them as SVG.

Lengths are in units of the SVG's view box, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.lifecycle.evaluation.metrics import Bin, EvaluationOutcomes

WIDTH, HEIGHT = 400, 260  # of what lies within the axes
STRIP = 48  # the height of the histogram below

_THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # that are tabled
_POINTS = 300  # of the curve; more can't be seen


@dataclass(frozen=True)
class Bar:
    """One bin of the reliability diagram, and of the histogram below it."""

    bin: Bin
    x: float
    width: float
    y: float  # the top of the share that is right
    dot_x: float  # the mean confidence
    count_height: float  # in the strip


@dataclass(frozen=True)
class Point:
    """What a threshold would give."""

    threshold: float
    coverage: float  # answered, of the questions that have an entry
    precision: float  # right, of the answered


@dataclass(frozen=True)
class CoverageCurve:
    """Coverage against precision, drawn."""

    path: str  # an SVG path
    floor: float  # the precision at the bottom
    ticks: list[tuple[float, float]]  # precisions, and their y
    here: tuple[float, float]  # what was measured: x, y


def bars(filled: Sequence[Bin]) -> list[Bar]:
    """Lay out the reliability diagram: confidence to the right, share right upwards."""
    most = max((each.count for each in filled), default=1)
    return [
        Bar(
            bin=each,
            x=each.low * WIDTH,
            width=(each.high - each.low) * WIDTH,
            y=(1 - each.right) * HEIGHT,
            dot_x=each.confidence * WIDTH,
            count_height=each.count / most * STRIP,
        )
        for each in filled
    ]


def points(found: EvaluationOutcomes) -> list[Point]:
    """Return what each threshold would give, the highest first; none if it isn't defined."""
    if not found.in_scope.any():
        return []
    order = np.argsort(-found.confidence, kind="stable")
    sure = found.confidence[order]
    last = np.flatnonzero(np.diff(sure, append=-1.0) < 0)  # of each group of equals
    last = last[sure[last] > 0]
    right = np.cumsum(found.right[order])[last]
    covered = np.cumsum(found.in_scope[order])[last]
    rows = zip(sure[last], covered / found.in_scope.sum(), right / (last + 1), strict=True)
    return [Point(*map(float, row)) for row in rows]


def curve(all_points: Sequence[Point], coverage: float, precision: float) -> CoverageCurve:
    """Lay out the curve, and where on it the version stands."""
    step = max(1, len(all_points) // _POINTS)
    drawn = [*all_points[::step], all_points[-1]]
    lowest = min(precision, *(point.precision for point in drawn))
    floor = min(0.9, math.floor(lowest * 10 + 1e-9) / 10)
    corners = [f"{point.coverage * WIDTH:.1f} {_y(point.precision, floor):.1f}" for point in drawn]
    marks = np.arange(round(floor * 10), 11) / 10
    return CoverageCurve(
        path="M" + "L".join(corners),
        floor=floor,
        ticks=[(float(mark), _y(float(mark), floor)) for mark in marks],
        here=(coverage * WIDTH, _y(precision, floor)),
    )


def table(all_points: Sequence[Point]) -> list[Point]:
    """Return what some round thresholds would give, as far as anything is so sure."""
    rows = []
    for threshold in _THRESHOLDS:
        surer = [point for point in all_points if point.threshold >= threshold]
        if surer:
            rows.append(Point(threshold, surer[-1].coverage, surer[-1].precision))
    return rows


def _y(precision: float, floor: float) -> float:
    return (1 - precision) / (1 - floor) * HEIGHT
