"""Simulation of autoscaling by time to drain over a support team's day.

Plays a day in steps of 15 s. Questions arrive by a curve with a morning and an evening peak, a
night's batch of tickets and a burst. Workers take 90 s to start, answer at a fixed rate and drain
when they are removed. Compares the rule of deploy/kubernetes/scaling.yaml with the length of the
queue at a fixed number of questions a worker, and with fixed numbers of workers. All rules see the
same arrivals, and none knows the next ones. Not covered: measured arrivals and a real cluster.

    python benchmarks/autoscaling.py [--rate 50] [--grant 600] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import _mill

STEP = 15  # seconds between two polls of KEDA
DAY = 24 * 3600
START_SECONDS = 90  # to schedule a pod, pull an image and load a model
HOLD_SECONDS = 300  # scaleDown.stabilizationWindowSeconds
MOST = 32  # replicas

# Hours of the day in which a parcel service is on strike and questions come in a burst.
_STRIKE = (14.0, 14.25)

Rule = Callable[[float, float], float]  # questions waiting, seconds a question: number of replicas


def main() -> None:
    """Play the day by each rule and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=50.0, help="questions/s of a worker")
    parser.add_argument("--grant", type=float, default=600.0, help="seconds to drain in")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    arrivals = day(random.Random(options.seed))  # noqa: S311 - a day that a seed repeats
    mean = math.ceil(sum(arrivals) / DAY / options.rate)
    rules: dict[str, Rule] = {
        "time to drain": lambda waiting, seconds: waiting * seconds / options.grant,
        "1,000 questions a worker": lambda waiting, _: waiting / 1_000,
        "100,000 questions a worker": lambda waiting, _: waiting / 100_000,
        f"always {mean}, the day's mean": lambda *_: mean,
        f"always {MOST}": lambda *_: MOST,
    }
    played = {
        name: play(arrivals, rule, options.rate, options.grant) for name, rule in rules.items()
    }
    report(options, sum(arrivals), played)
    if options.plot:
        plot(options, arrivals, played)


def day(chance: random.Random) -> list[int]:
    """Return the number of questions that arrive in each step."""
    arrivals = []
    for step in range(DAY // STEP):
        hour = step * STEP / 3600
        rate = 20 + 180 * _peak(hour, 10.5, 2.0) + 240 * _peak(hour, 19.0, 1.5)  # questions/s
        if _STRIKE[0] <= hour < _STRIKE[1]:
            rate += 1_500
        arrivals.append(max(0, round(chance.gauss(rate * STEP, math.sqrt(rate * STEP)))))
    arrivals[2 * 3600 // STEP] += 1_000_000  # the night's batch of tickets
    return arrivals


def _peak(hour: float, at: float, width: float) -> float:
    return math.exp(-(((hour - at) / width) ** 2) / 2)


@dataclass
class Played:
    """Workers and waiting times of a day."""

    workers: list[int] = field(default_factory=list)  # paid for, at each step
    waiting: list[float] = field(default_factory=list)
    late: float = 0.0  # questions that waited longer than the granted time
    worst: float = 0.0  # seconds, the longest wait of a question
    worker_hours: float = 0.0
    changes: int = 0


def play(arrivals: list[int], rule: Rule, rate: float, grant: float) -> Played:
    """Play a day in which a rule sets the number of replicas.

    Args:
        arrivals: questions in each step.
        rule: returns the number of replicas to run.
        rate: questions/s that one replica answers.
        grant: seconds after which an answer is late.
    """
    result, queue = Played(), deque[tuple[int, float]]()
    ready, starting, targets = 1, deque[int](), deque[int](maxlen=HOLD_SECONDS // STEP)
    for step, arrived in enumerate(arrivals):
        queue.append((step, arrived))
        ready += sum(1 for at in starting if at <= step)
        starting = deque(at for at in starting if at > step)
        _answer(queue, step, ready * rate * STEP, grant, result)
        waiting = sum(count for _, count in queue)
        target = min(MOST, max(1, math.ceil(rule(waiting, 1 / rate))))
        targets.append(target)
        paid = ready + len(starting)
        if target > paid:
            more = min(target, max(4 * paid, paid + 1)) - paid  # 300 % a minute at most
            starting.extend([step + START_SECONDS // STEP] * more)
        elif max(targets) < paid:
            ready = max(1, min(ready, max(targets)))
        result.changes += paid != ready + len(starting)
        result.workers.append(ready + len(starting))
        result.waiting.append(waiting)
        result.worker_hours += (ready + len(starting)) * STEP / 3600
    return result


def _answer(
    queue: deque[tuple[int, float]], step: int, capacity: float, grant: float, result: Played
) -> None:
    """Answer the oldest questions, and record the waits in the result."""
    while queue and capacity > 0:
        at, count = queue[0]
        done = min(count, capacity)
        capacity -= done
        waited = (step - at) * STEP
        result.worst = max(result.worst, waited)
        if waited > grant:
            result.late += done
        if done == count:
            queue.popleft()
        else:
            queue[0] = (at, count - done)


def report(options: argparse.Namespace, questions: int, played: dict[str, Played]) -> None:
    """Print the table and the JSON line."""
    rows = [
        [
            name,
            f"{day.worker_hours:,.0f}",
            max(day.workers),
            f"{day.worst / 60:,.0f}",
            f"{day.late / questions:.1%}",
            day.changes,
        ]
        for name, day in played.items()
    ]
    head = [
        "workers by",
        "worker hours paid",
        "most workers",
        "longest wait, min",
        "share later than granted",
        "changes",
    ]
    _mill.print_table(f"{questions:,} questions in a day, {options.rate:g}/s a worker", head, rows)
    _report_json(options, questions, played["time to drain"])


def _report_json(options: argparse.Namespace, questions: int, day: Played) -> None:
    _mill.print_json(
        "autoscaling",
        questions=questions,
        rate=options.rate,
        granted_s=options.grant,
        worker_hours=round(day.worker_hours, 1),
        most_workers=max(day.workers),
        longest_wait_s=day.worst,
        late_share=round(day.late / questions, 4),
        changes=day.changes,
    )


def plot(options: argparse.Namespace, arrivals: list[int], played: dict[str, Played]) -> None:
    """Draw arrivals, backlog and workers of the day."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    hours = [step * STEP / 3600 for step in range(len(arrivals))]
    figure, (top, middle, bottom) = plt.subplots(3, 1, sharex=True, figsize=(9, 7))
    top.fill_between(hours, [count / STEP for count in arrivals], color="#9aa7b8", linewidth=0)
    top.set_ylim(0, 2_000)
    top.set_ylabel("arrivals, questions/s")
    top.annotate("1,000,000 at once", (2, 1_900), (2.4, 1_650))
    for name, color in (("time to drain", "#1f6feb"), ("1,000 questions a worker", "#d1730f")):
        middle.plot(hours, played[name].waiting, color=color, label=name, linewidth=1.2)
        bottom.step(hours, played[name].workers, color=color, label=name, linewidth=1.2)
    middle.set_yscale("symlog", linthresh=1_000)
    middle.set_ylabel("questions waiting")
    bottom.set_ylabel("workers")
    bottom.set_xlabel("hour of the day")
    bottom.set_xlim(0, 24)
    bottom.set_xticks(range(0, 25, 3))
    bottom.legend(loc="upper right", frameon=False)
    for axes in (top, middle, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(options.plot, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
