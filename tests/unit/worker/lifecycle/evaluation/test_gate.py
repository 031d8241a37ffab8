"""The gate, on given metrics and with models that take simulated time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from core.domain.model_version import ModelVersion, VersionState
from core.domain.result import Answer, Status
from tests.factories import NOW
from tests.fakes import FakeModel
from worker.lifecycle.evaluation import gate
from worker.lifecycle.evaluation.gate import Margins, compare_metrics, compare_on_questions, speeds
from worker.lifecycle.inputs.labelled_questions import Labelled


class Clock:
    """Simulated time, on a machine that may take ever longer."""

    now, drag, growth = 0.0, 1.0, 1.0

    def work(self, seconds):
        self.now += seconds * self.drag
        self.drag *= self.growth


class Oracle(FakeModel):
    """Gives fixed answers, by entry and whether it is answered; a pass takes simulated seconds."""

    threshold = 0.5

    def __init__(self, clock, version, answers, pass_seconds=0.01):
        super().__init__(version, answer=self._fixed)
        self.clock, self.answers, self.pass_seconds = clock, answers, pass_seconds
        self.turns = []

    def tokenize(self, texts):
        self.turns.append(self.version)
        return super().tokenize(texts)

    def encode(self, tokens):
        self.clock.work(self.pass_seconds)
        return super().encode(tokens)

    def _fixed(self, text):
        entry, answered = self.answers[text]
        status = Status.ANSWERED if answered else Status.HANDED_OFF
        return Answer(status, entry, entry, confidence=0.9 if answered else 0.1)


IN_SCOPE = [Labelled(f"q{n}", frozenset({"a"})) for n in range(100)]
FOREIGN = [Labelled(f"x{n}", frozenset()) for n in range(100)]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(gate.time, "perf_counter", lambda: clock.now)
    return clock


@pytest.fixture
def oracle(clock):
    """Make a model with some wrong answers, hand-offs, and answers to foreign questions."""

    def oracle(name, *, wrong=0, handed_off=0, foreign=0, **values):
        answers = {}
        for n, row in enumerate(IN_SCOPE):
            answers[row.question] = ("b" if n < wrong else "a", n >= handed_off)
        answers |= {row.question: ("a", n < foreign) for n, row in enumerate(FOREIGN)}
        return Oracle(clock, f"shop@{name}", answers, **values)

    return oracle


def judged(candidate, production, **margins):
    models = [candidate, production]
    labelled = [*IN_SCOPE, *FOREIGN]
    return compare_on_questions(models, labelled, 1000, Margins(**margins), lambda *_: None)


def worse(result):
    return [metric.figure for metric in result.worse]


def test_an_equal_candidate_is_not_worse(oracle):
    result = judged(oracle(2, wrong=10), oracle(1, wrong=10))
    assert worse(result) == []
    assert result.production == "shop@1"
    assert result.basis == "labelled questions"


@pytest.mark.parametrize(
    ("faults", "figure", "candidate", "production"),
    [
        ({"wrong": 2}, "accuracy", 0.98, 1.0),
        ({"foreign": 3}, "precision", 0.9709, 1.0),
        ({"foreign": 2}, "handoff_recall", 0.98, 1.0),
        ({"pass_seconds": 0.013}, "questions_per_second", None, None),
    ],
)
def test_each_metric_refuses_by_itself(oracle, faults, figure, candidate, production):
    result = judged(oracle(2, **faults), oracle(1))
    assert figure in worse(result)
    (metric,) = [metric for metric in result.worse if metric.figure == figure]
    if candidate is not None:
        assert (metric.candidate, metric.production) == (candidate, production)
        assert str(metric) == f"{figure} {candidate} against {production} (margin 0.01)"


def test_a_difference_of_just_the_margin_is_not_worse(oracle):
    assert worse(judged(oracle(2, wrong=1), oracle(1))) == []
    assert "accuracy" in worse(judged(oracle(2, wrong=1), oracle(1), shares=0.005))
    assert worse(judged(oracle(2, wrong=9, foreign=9), oracle(1), shares=0.2)) == []


def test_speed_has_a_margin_of_its_own(oracle):
    slow = {"pass_seconds": 0.013}
    assert worse(judged(oracle(2, **slow), oracle(1), shares=1)) == ["questions_per_second"]
    assert worse(judged(oracle(2, **slow), oracle(1), speed=0.3)) == []


def test_coverage_is_shown_and_not_judged(oracle):
    result = judged(oracle(2, handed_off=50), oracle(1))
    (coverage,) = [metric for metric in result.compared if metric.figure == "coverage"]
    assert (coverage.candidate, coverage.production, coverage.margin) == (0.5, 1.0, None)
    assert worse(result) == []


def test_a_candidate_that_answers_nothing_has_no_precision_and_is_worse(oracle):
    assert worse(judged(oracle(2, handed_off=100), oracle(1))) == ["precision"]


def test_a_candidate_alone_is_measured_and_not_judged(oracle):
    result = compare_on_questions([oracle(1, wrong=60)], IN_SCOPE, 1000, Margins(), lambda *_: None)
    assert result.worse == []
    figures = {metric.figure: metric.candidate for metric in result.compared}
    assert (figures["accuracy"], figures["handoff_recall"]) == (0.4, None)


def test_both_are_timed_in_turns_and_take_turns_in_beginning(oracle):
    first, second = oracle(1), oracle(2)
    second.turns = first.turns
    speeds([first, second], ["q1", "q2"])
    turns = [first.turns[0]] + [b for a, b in pairwise(first.turns) if a != b]
    assert turns == ["shop@2", "shop@1"] * 5
    assert first.turns.count("shop@1") == first.turns.count("shop@2")


@pytest.mark.parametrize(("seconds", "ratio"), [(0.01, 1.0), (0.02, 0.5), (0.005, 2.0)])
def test_the_ratio_is_found_though_the_machine_slows_down_and_stalls(clock, oracle, seconds, ratio):
    clock.growth = 1.002

    class Stalled(Oracle):
        def encode(self, tokens):
            clock.now += 20.0 if 3 < clock.now < 4 else 0.0
            return super().encode(tokens)

    answers = oracle(1).answers
    both = [Stalled(clock, "shop@2", answers, seconds), Stalled(clock, "shop@1", answers, 0.01)]
    ours, production = speeds(both, [row.question for row in IN_SCOPE])
    assert ours / production == pytest.approx(ratio, rel=0.1)


def test_progress_counts_the_questions_of_both(oracle):
    progress = []
    both = [oracle(2), oracle(1)]
    compare_on_questions(both, IN_SCOPE, 1000, Margins(), lambda *counts: progress.append(counts))
    assert progress[-1] == (200, 200)
    assert progress == sorted(progress)


def version(number, **metrics):
    return ModelVersion("shop", number, VersionState.BUILT, f"d{number}", metrics, NOW)


def test_without_questions_the_metrics_of_both_builds_are_compared():
    same = {"cv_precision": 0.97}
    candidate = version(2, cv_accuracy=0.90, near_handoff_recall=None, entries=3, **same)
    production = version(
        1, cv_accuracy=0.95, cv_precision=0.97, near_handoff_recall=0.9, entries=900
    )
    result = compare_metrics([candidate, production], Margins())
    assert [metric.figure for metric in result.compared] == ["cv_accuracy", "cv_precision"]
    assert worse(result) == ["cv_accuracy"]
    assert (result.basis, result.production) == ("cross-validation", "shop@1")


@pytest.mark.parametrize("figure", gate.CROSS_VALIDATED)
def test_each_metric_of_cross_validation_refuses_by_itself(figure):
    both = [version(2, **{figure: 0.8}), version(1, **{figure: 0.9})]
    assert worse(compare_metrics(both, Margins())) == [figure]
    assert worse(compare_metrics(both[::-1], Margins())) == []


@pytest.mark.parametrize("both", [[version(1)], [version(2, cv_accuracy=0.1), version(1)]])
def test_a_result_without_a_comparison_has_the_basis_nothing(both):
    result = compare_metrics(both, Margins())
    assert (result.basis, result.compared, result.worse) == ("nothing", [], [])
