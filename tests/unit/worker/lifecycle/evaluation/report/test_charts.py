from __future__ import annotations

import re

import pytest

from tests.labelled import answered, expecting, handed_off
from worker.lifecycle.evaluation.metrics import Bin, EvaluationOutcomes
from worker.lifecycle.evaluation.report.charts import (
    HEIGHT,
    STRIP,
    WIDTH,
    Point,
    bars,
    curve,
    points,
    table,
)


def test_a_bar_stands_where_its_confidence_is_and_ends_where_it_is_right():
    low, high = bars([Bin(0.0, 0.2, 5, 0.1, 0.0), Bin(0.8, 1.0, 10, 0.9, 0.75)])
    assert (low.x, low.width, low.y) == (0, 0.2 * WIDTH, HEIGHT)
    assert high.x == pytest.approx(0.8 * WIDTH)
    assert high.dot_x == pytest.approx(0.9 * WIDTH)
    assert high.y == pytest.approx(0.25 * HEIGHT)
    assert (low.count_height, high.count_height) == (STRIP / 2, STRIP)


def test_no_questions_have_no_bars():
    assert bars([]) == []


def test_each_threshold_answers_what_is_at_least_as_confident():
    labelled = [expecting("a"), expecting("a"), expecting(), expecting("a")]
    answers = [answered("a", 0.9), handed_off("b", 0.9), handed_off("a", 0.5), handed_off("a", 0.2)]
    assert points(EvaluationOutcomes.of(labelled, answers)) == [
        Point(0.9, pytest.approx(2 / 3), 0.5),
        Point(0.5, pytest.approx(2 / 3), pytest.approx(1 / 3)),
        Point(0.2, 1.0, 0.5),
    ]


def test_what_names_no_entry_is_answered_at_no_threshold():
    outcomes = EvaluationOutcomes.of(
        [expecting("a"), expecting("a")], [answered("a"), handed_off(None, None)]
    )
    assert points(outcomes) == [Point(0.9, 0.5, 1.0)]


def test_without_questions_that_have_an_entry_nothing_is_drawn():
    assert points(EvaluationOutcomes.of([expecting()], [answered("a")])) == []


def test_the_table_has_the_round_thresholds_that_a_confidence_reaches():
    every = [Point(0.92, 0.1, 1.0), Point(0.55, 0.5, 0.9), Point(0.31, 0.9, 0.8)]
    assert [(row.threshold, row.coverage) for row in table(every)] == [
        (0.3, 0.9),
        (0.5, 0.5),
        (0.6, 0.1),
        (0.7, 0.1),
        (0.8, 0.1),
        (0.9, 0.1),
    ]


def test_the_curve_lies_within_its_axes():
    every = [Point(1 - i / 2_000, i / 1_999, 1 - i / 6_000) for i in range(2_000)]
    drawn = curve(every, coverage=0.5, precision=0.83)
    corners = [tuple(map(float, c.split())) for c in re.split("[ML]", drawn.path)[1:]]
    assert corners[-1][0] == WIDTH
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in [*corners, drawn.here])
    assert len(corners) < 500
    assert drawn.floor == 0.6
    assert [value for value, _ in drawn.ticks] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert (drawn.ticks[0][1], drawn.ticks[-1][1]) == (HEIGHT, 0)


def test_a_curve_without_a_fault_has_an_axis_all_the_same():
    drawn = curve([Point(0.9, 1.0, 1.0)], coverage=1.0, precision=1.0)
    assert drawn.floor == 0.9
    assert drawn.here == (WIDTH, 0)
