"""Throughput as replicas grow, with a model that only sleeps.

Measures, on PostgreSQL with fsync, from the start of `submit` to the last committed result, with 1
to 32 replicas whose model sleeps half a second a job of 128 questions. A model on a GPU of its own
leaves the processor free in the same way. Every replica gets the same number of jobs. Reports also
the share of the rate that the sleep alone would allow. Against us: everything shares the cores, and
the start of `submit` is in the time. Not covered: models that compute and compete for the cores
(`replicas.py`).

    python benchmarks/scaling.py [--replicas 1 2 4 8 16 32] [--pass-seconds 0.5] [--jobs 24]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import _mill
import queue_and_database as ours

JOB = 128


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--pass-seconds", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=24, help="jobs of each replica")
    options = parser.parse_args()
    rows, figures = [], {}
    for replicas in options.replicas:
        rate = measure(replicas, options.jobs, options.pass_seconds)
        most = replicas * JOB / options.pass_seconds
        rows.append([replicas, rate, most, f"{rate / most:.2f}"])
        figures[str(replicas)] = {
            "questions_per_second": round(rate),
            "of_the_most": round(rate / most, 3),
        }
    title = f"{options.jobs} jobs of {JOB} a replica, {options.pass_seconds} s each, questions/s"
    _mill.print_table(title, ["replicas", "measured", "at most", "share"], rows)
    _mill.print_json("scaling", pass_s=options.pass_seconds, jobs=options.jobs, replicas=figures)


def measure(replicas: int, jobs: int, pass_seconds: float) -> float:
    """Return the questions/s of a number of replicas."""
    count = replicas * jobs * JOB
    os.environ["ANSWERMILL_REPLICAS"] = str(replicas)
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        file = ours.write_questions(Path(folder) / "questions.csv", count)
        with _mill.workers(settings, pass_seconds=pass_seconds, replicas=replicas):
            return ours.whole(settings, file, f"{replicas}-replicas", count).rate


if __name__ == "__main__":
    main()
