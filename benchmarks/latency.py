"""How long does one interactive question take, from `submit` to its visible result?

Measures single questions, one after the other, on PostgreSQL: on an idle system, and while
a bulk backlog is answered whose jobs take a given time each. The model sleeps; what is
measured is everything around it. The producer is warm, as a web process is: its start-up,
most of a second of Python, is not in it. Favours us: the model's own time is left out when
idle, and small under load: it is in proportion to the questions.

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


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--pass-seconds", type=float, default=0.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _mill.surroundings() as settings:
        with _mill.workers(settings):
            idle = asked(settings, options.questions)
        file = write_questions(Path(folder) / "questions.csv", options.backlog)
        submit(file, "backlog")
        with _mill.workers(settings, pass_seconds=options.pass_seconds):
            busy = asked(settings, options.questions // 4)
    tell(options, idle, busy)


def asked(settings: Settings, count: int) -> list[float]:
    """Return the milliseconds that each question took, the first ones left out."""
    engine = open_engine(settings)
    context = ProducerContext(settings, engine, open_broker(settings))
    took = []
    for n in range(count + 5):
        started = time.perf_counter()
        found = ask(context, f"Where is parcel {n}?", wait=timedelta(seconds=60))
        if found.result is None:
            msg = "no result within a minute"
            raise SystemExit(msg)
        took.append((time.perf_counter() - started) * 1000)
    engine.dispose()
    return sorted(took[5:])


def tell(options: argparse.Namespace, idle: list[float], busy: list[float]) -> None:
    rows = [
        ["idle", *at(idle)],
        [f"behind {options.backlog:,} bulk questions, {options.pass_seconds} s a job", *at(busy)],
    ]
    _mill.tell("one interactive question, milliseconds", ["", "p50", "p99", "worst"], rows)
    figures = {}
    for name, times in (("idle", idle), ("busy", busy)):
        p50, p99, worst = (round(value, 1) for value in at(times))
        figures |= {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_worst_ms": worst}
    _mill.tell_json("latency", backlog=options.backlog, pass_s=options.pass_seconds, **figures)


def at(times: list[float]) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the longest of sorted times."""
    return statistics.median(times), times[int(len(times) * 0.99)], times[-1]


if __name__ == "__main__":
    main()
