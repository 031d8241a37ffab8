from __future__ import annotations

from collections.abc import Sequence

import pytest

from worker.inference.pass_size import PassSizeResult, measure, sample
from worker.inference.protocol import PassBudget

ONE, EIGHT, MANY = (PassBudget(1_000, questions) for questions in (1, 8, 32))
TEXTS = ["a", "b", "c", "d"]


class Machine:
    """Takes a fixed time for a text, by the questions of a pass."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.turns = seconds, 0.0, []

    def answer(self, budget: PassBudget, texts: Sequence[str]) -> None:
        self.turns.append(budget.questions)
        self.now += len(texts) * self.seconds[budget.questions]

    def clock(self) -> float:
        return self.now


def paced(machine: Machine, budgets: Sequence[PassBudget]) -> PassSizeResult:
    return measure(machine.answer, budgets, TEXTS, machine.clock)


def test_the_fastest_budget_is_chosen_and_all_rates_are_returned():
    result = paced(Machine({8: 0.02, 1: 0.01, 32: 0.04}), [EIGHT, ONE, MANY])
    assert result == PassSizeResult(ONE, {8: 50.0, 1: 100.0, 32: 25.0})


def test_the_first_budget_is_chosen_unless_another_is_clearly_faster():
    assert paced(Machine({8: 0.0100, 1: 0.0098}), [EIGHT, ONE]).budget == EIGHT


def test_turns_alternate():
    machine = Machine({8: 0.01, 1: 0.01})
    paced(machine, [EIGHT, ONE])
    assert machine.turns == [8, 1, 8, 1, 8, 1]


def test_one_slow_turn_decides_nothing():
    machine = Machine({8: 0.02, 1: 0.01})
    answer = machine.answer

    def disturbed(budget: PassBudget, texts: Sequence[str]) -> None:
        answer(budget, texts)
        machine.now += 0.5 if len(machine.turns) == 2 else 0.0

    assert measure(disturbed, [EIGHT, ONE], TEXTS, machine.clock).budget == ONE


def test_a_slow_encoder_gets_one_round():
    machine = Machine({8: 1.0, 1: 2.0})
    paced(machine, [EIGHT, ONE])
    assert machine.turns == [8, 1]


def test_a_single_budget_is_measured_in_one_turn():
    machine = Machine({8: 0.01})
    assert paced(machine, [EIGHT]) == PassSizeResult(EIGHT, {8: 100.0})
    assert machine.turns == [8]


@pytest.mark.parametrize(("texts_known", "sampled"), [(10, 10), (32, 32), (700, 32)])
def test_the_sample_fills_the_largest_pass_with_texts_from_everywhere(
    texts_known: int, sampled: int
):
    texts = [str(number) for number in range(texts_known)]
    chosen = sample(["0", *texts], [EIGHT, MANY])
    assert len(chosen) == len(set(chosen)) == sampled
    assert int(chosen[-1]) >= texts_known * 0.9
