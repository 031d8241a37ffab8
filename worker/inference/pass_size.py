"""How large passes are best: measured when a version is loaded, with it, where it will work.

Answers do not depend on it, so a turn that a neighbour spoils costs speed and nothing else.
Not covered: which engine and which precision. A version has one of each; `model convert`
makes a version with another, and the gate compares their speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.inference.protocol import PassBudget

_ROUNDS = 3  # more: surer, and later to take work
_SECONDS = 1.0  # for all of it; then no further round begins
_CLEARLY = 1.05  # times as fast as the first another budget must be

Answering = Callable[[PassBudget, Sequence[str]], object]


@dataclass(frozen=True)
class PassSizeResult:
    """The budget to take, and what was measured."""

    budget: PassBudget
    rates: dict[int, float]  # questions/s by the questions of a pass


def measure(
    answer: Answering,
    budgets: Sequence[PassBudget],
    texts: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
) -> PassSizeResult:
    """Answer texts with each budget in turns; take the first budget unless one is faster.

    Args:
        answer: answers texts in passes of a budget.
        budgets: to choose from.
        texts: what is asked: no two equal, and enough to fill the largest pass (`sample`).
        clock: tells the time in seconds.
    """
    seconds: list[list[float]] = [[] for _ in budgets]
    begun = clock()
    for number in range(_ROUNDS if len(budgets) > 1 else 1):
        if number and clock() - begun > _SECONDS:
            break
        for budget, turns in zip(budgets, seconds, strict=True):
            started = clock()
            answer(budget, texts)
            turns.append(clock() - started)
    rates = [len(texts) / statistics.median(turns) for turns in seconds]
    best = max(range(len(rates)), key=rates.__getitem__)
    chosen = best if rates[best] > _CLEARLY * rates[0] else 0
    told = zip(budgets, rates, strict=True)
    return PassSizeResult(
        budgets[chosen], {budget.questions: round(rate, 1) for budget, rate in told}
    )


def sample(texts: Sequence[str], budgets: Sequence[PassBudget]) -> list[str]:
    """Return texts, evenly spread, as many as fill the largest pass, or all of them."""
    different = list(dict.fromkeys(texts))
    wanted = max(budget.questions for budget in budgets)
    step = max(1, len(different) // wanted)
    return different[::step][:wanted]
