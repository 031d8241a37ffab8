"""Throughput of the queue and the database without a model.

Measures, on PostgreSQL with fsync, all on the same cores: `submit` alone, from its start to its
end, the start of Python included; and from the start of `submit` to the last committed result, with
a worker whose model answers at once. Reports also the processor time of Redis, PostgreSQL, producer
and worker together, which matters on a machine that does other work. Favors us: nothing is
tokenized, and the processor time leaves out all waits.

    python benchmarks/queue_and_database.py [--questions 200000] [--rounds 3] [--job-size 128]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _mill

from core.settings.settings import Settings

TEXT = "Hello, I ordered a blue jacket last week and it still shows processing, number {}, why?"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-size", type=int, default=128)
    options = parser.parse_args()
    os.environ["ANSWERMILL_JOB_SIZE"] = str(options.job_size)
    submits = []
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        file = write_questions(Path(folder) / "questions.csv", options.questions)
        for number in range(options.rounds):
            with _mill.measured(settings, options.questions) as alone:
                batch = submit(file, f"alone-{number}")
            submits.append(alone)
            cancel(batch)
        with _mill.workers(settings):
            time.sleep(5)  # seconds, in which the sweep ends the cancelled batches
            names = [f"whole-{number}" for number in range(options.rounds)]
            wholes = [whole(settings, file, name, options.questions) for name in names]
    report(options, submits, wholes)


def whole(settings: Settings, file: Path, name: str, count: int) -> _mill.Measured:
    """Measure a file from the start of `submit` to the last result."""
    with _mill.measured(settings, count) as result:
        _mill.await_results(settings, submit(file, name), count)
    print(f"{name}: {result.rate:,.0f}/s, {result.microseconds:.1f} us each", file=sys.stderr)
    return result


def write_questions(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = ((number, TEXT.format(number)) for number in range(count))
        csv.writer(out).writerows([("key", "question"), *rows])
    return path


def submit(file: Path, name: str) -> int:
    command = [sys.executable, "-m", "stack", "submit", str(file), "--name", name, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return int(json.loads(done.stdout)["batch"])


def cancel(batch: int) -> None:
    command = [sys.executable, "-m", "stack", "cancel", str(batch)]
    subprocess.run(command, check=True, capture_output=True)


def report(
    options: argparse.Namespace, submits: list[_mill.Measured], wholes: list[_mill.Measured]
) -> None:
    rows, figures = [], {}
    for key, name, turns in (
        ("submit", "submit alone", submits),
        ("whole", "submit to the last result", wholes),
    ):
        rate = statistics.median(turn.rate for turn in turns)
        cost = statistics.median(turn.microseconds for turn in turns)
        rows.append([name, rate, max(turn.rate for turn in turns), cost])
        figures[f"{key}_questions_per_second"] = round(rate)
        figures[f"{key}_processor_microseconds"] = round(cost, 1)
    title = f"{options.questions:,} questions, jobs of {options.job_size}, questions/s"
    _mill.print_table(title, ["step", "median", "best", "processor, µs a question"], rows)
    sizes = {"questions": options.questions, "job_size": options.job_size}
    _mill.print_json("queue_and_database", **sizes, rounds=options.rounds, **figures)


if __name__ == "__main__":
    main()
