"""Latency of one interactive question, from `submit` to its result.

Measures single questions, one after the other, on PostgreSQL: on an idle system, and while workers
answer a bulk backlog whose jobs take a given time each. The model sleeps, so that everything but
the model is measured. The producer is warm, as a web process is. Its start, most of a second of
Python, is not included. Favors us: the model's own time is left out when idle. Under load it is
small, as it is in proportion to the questions.

    python benchmarks/latency.py [--questions 200] [--backlog 100000] [--pass-seconds 0.5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import _mill
from queue_and_database import submit, write_questions

from broker.client import open_broker
from core.settings.settings import Settings
from db.engine import open_engine
from producer.connections import ProducerContext
from producer.submission.ask import ask

_WARM = 5  # questions before the measured ones


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--pass-seconds", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        with _mill.workers(settings):
            idle = ask_all(settings, options.questions)
        file = write_questions(Path(folder) / "questions.csv", options.backlog)
        submit(file, "backlog")
        with _mill.workers(settings, pass_seconds=options.pass_seconds):
            busy = ask_all(settings, options.questions // 4)
    report(options, idle, busy)


def ask_all(settings: Settings, count: int) -> list[float]:
    """Return the sorted milliseconds of each question, without the first five."""
    engine = open_engine(settings)
    context = ProducerContext(settings, engine, open_broker(settings))
    milliseconds = []
    for number in range(count + _WARM):
        started = time.perf_counter()
        question = ask(context, f"Where is parcel {number}?", wait=timedelta(seconds=60))
        if question.result is None:
            msg = "no result within a minute"
            raise SystemExit(msg)
        milliseconds.append((time.perf_counter() - started) * 1000)
    engine.dispose()
    return sorted(milliseconds[_WARM:])


def report(options: argparse.Namespace, idle: list[float], busy: list[float]) -> None:
    rows = [
        ["idle", *at(idle)],
        [f"after {options.backlog:,} bulk questions, {options.pass_seconds} s a job", *at(busy)],
    ]
    _mill.print_table(
        "one interactive question, milliseconds", ["system", "p50", "p99", "worst"], rows
    )
    figures = {}
    for name, times in (("idle", idle), ("busy", busy)):
        p50, p99, worst = (round(value, 1) for value in at(times))
        figures |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_worst_ms": worst}
    _mill.print_json("latency", backlog=options.backlog, pass_s=options.pass_seconds, **figures)


def at(times: list[float]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the longest of sorted times."""
    return statistics.median(times), times[int(len(times) * 0.99)], times[-1]


if __name__ == "__main__":
    main()
