"""Measure which pass size is fastest for a loaded version on this machine.

The measurement runs when a version is loaded. Answers do not depend on the pass size, so a
measurement that another process disturbs costs only speed.
Not covered: the choice of runtime and precision. Each version has one; `model convert` makes
a version with another one, and the gate compares their speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.inference.protocol import PassBudget

_ROUNDS = 3  # higher: more reliable, slower start
_SECONDS = 1.0  # after which no further round begins; higher: more reliable, slower start
_MIN_SPEEDUP = 1.05  # over the first budget, for another one to be chosen

Answering = Callable[[PassBudget, Sequence[str]], object]


@dataclass(frozen=True)
class PassSizeResult:
    """The chosen budget, and the measured rates."""

    budget: PassBudget
    rates: dict[int, float]  # questions/s by the questions of a pass


def measure(
    answer: Answering,
    budgets: Sequence[PassBudget],
    texts: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
) -> PassSizeResult:
    """Answer texts with each budget in turn, and choose the fastest one.

    The first budget is chosen unless another one is clearly faster.

    Args:
        answer: answers texts in passes of a budget.
        budgets: the candidates.
        texts: different texts, enough to fill the largest pass (`sample`).
        clock: the time in seconds.
    """
    seconds: list[list[float]] = [[] for _ in budgets]
    measuring_since = clock()
    for number in range(_ROUNDS if len(budgets) > 1 else 1):
        if number and clock() - measuring_since > _SECONDS:
            break
        for budget, turns in zip(budgets, seconds, strict=True):
            started_at = clock()
            answer(budget, texts)
            turns.append(clock() - started_at)
    rates = [len(texts) / statistics.median(turns) for turns in seconds]
    fastest = max(range(len(rates)), key=rates.__getitem__)
    chosen = fastest if rates[fastest] > _MIN_SPEEDUP * rates[0] else 0
    rate_of = {
        budget.questions: round(rate, 1) for budget, rate in zip(budgets, rates, strict=True)
    }
    return PassSizeResult(budgets[chosen], rate_of)


def sample(texts: Sequence[str], budgets: Sequence[PassBudget]) -> list[str]:
    """Return evenly spaced texts that fill the largest pass, or all texts."""
    different = list(dict.fromkeys(texts))
    count = max(budget.questions for budget in budgets)
    step = max(1, len(different) // count)
    return different[::step][:count]
