"""The two charts of a report as numbers. The template draws them as SVG.

Lengths are in units of the SVG's view box; y points down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.lifecycle.evaluation.metrics import Bin, EvaluationOutcomes

WIDTH, HEIGHT = 400, 260  # of the plot area
STRIP = 48  # height of the histogram below it

_THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # in the table
_MAX_POINTS = 300  # of the curve; higher: a larger page that looks the same


@dataclass(frozen=True)
class Bar:
    """One bin of the reliability diagram, and of the histogram below it."""

    bin: Bin
    x: float
    width: float
    y: float  # the top: the share that is right
    dot_x: float  # the mean confidence
    count_height: float  # in the histogram


@dataclass(frozen=True)
class Point:
    """Coverage and precision at a threshold."""

    threshold: float
    coverage: float  # answered, of the questions that have an entry
    precision: float  # right, of the answered


@dataclass(frozen=True)
class CoverageCurve:
    """The curve of precision over coverage."""

    path: str  # an SVG path
    floor: float  # the precision at the bottom
    ticks: list[tuple[float, float]]  # precision, y
    here: tuple[float, float]  # the evaluated version: x, y


def bars(filled: Sequence[Bin]) -> list[Bar]:
    """Lay out the reliability diagram: confidence on x, share right on y."""
    largest = max((each.count for each in filled), default=1)
    return [
        Bar(
            bin=each,
            x=each.low * WIDTH,
            width=(each.high - each.low) * WIDTH,
            y=(1 - each.right) * HEIGHT,
            dot_x=each.confidence * WIDTH,
            count_height=each.count / largest * STRIP,
        )
        for each in filled
    ]


def points(outcomes: EvaluationOutcomes) -> list[Point]:
    """Return coverage and precision at each threshold, the highest first.

    The list is empty if no question has an entry.
    """
    if not outcomes.in_scope.any():
        return []
    order = np.argsort(-outcomes.confidence, kind="stable")
    confidence = outcomes.confidence[order]
    last = np.flatnonzero(np.diff(confidence, append=-1.0) < 0)  # of each group of equals
    last = last[confidence[last] > 0]
    right = np.cumsum(outcomes.right[order])[last]
    covered = np.cumsum(outcomes.in_scope[order])[last]
    coverage = covered / outcomes.in_scope.sum()
    rows = zip(confidence[last], coverage, right / (last + 1), strict=True)
    return [Point(*map(float, row)) for row in rows]


def curve(all_points: Sequence[Point], coverage: float, precision: float) -> CoverageCurve:
    """Lay out the curve, and the position of the version on it."""
    step = max(1, len(all_points) // _MAX_POINTS)
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
    """Return the points at round thresholds, up to the highest confidence."""
    rows = []
    for threshold in _THRESHOLDS:
        above = [point for point in all_points if point.threshold >= threshold]
        if above:
            rows.append(Point(threshold, above[-1].coverage, above[-1].precision))
    return rows


def _y(precision: float, floor: float) -> float:
    return (1 - precision) / (1 - floor) * HEIGHT
