"""How many questions a second do the queue and the database carry, the model left out?

Measures, on PostgreSQL with fsync, everything on the same cores: `submit` alone, from its
start, Python's included, to its end; and from the start of `submit` to the last committed
result, with a worker whose model answers at once. And the processor time of all of it, by
Redis, PostgreSQL, producer and worker together: what is left when other work shares the
machine. Favours us: no tokenising is done, and the processor time leaves out all waiting.

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

TEXT = "Hello, I ordered a blue jacket last week and it still says processing, number {}, why?"


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-size", type=int, default=128)
    options = parser.parse_args()
    os.environ["ANSWERMILL_JOB_SIZE"] = str(options.job_size)
    submits = []
    with tempfile.TemporaryDirectory() as folder, _mill.surroundings() as settings:
        file = write_questions(Path(folder) / "questions.csv", options.questions)
        for number in range(options.rounds):
            with _mill.measured(settings, options.questions) as alone:
                batch = submit(file, f"alone-{number}")
            submits.append(alone)
            cancel(batch)
        with _mill.workers(settings):
            time.sleep(5)  # lets the sweep end what was cancelled
            names = [f"whole-{number}" for number in range(options.rounds)]
            wholes = [whole(settings, file, name, options.questions) for name in names]
    tell(options, submits, wholes)


def whole(settings: Settings, file: Path, name: str, count: int) -> _mill.Measured:
    """Measure from the start of `submit` to the last result."""
    with _mill.measured(settings, count) as found:
        _mill.await_results(settings, submit(file, name), count)
    print(f"{name}: {found.rate:,.0f}/s, {found.microseconds:.1f} us each", file=sys.stderr)
    return found


def write_questions(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = ((n, TEXT.format(n)) for n in range(count))
        csv.writer(out).writerows([("key", "question"), *rows])
    return path


def submit(file: Path, name: str) -> int:
    command = [sys.executable, "-m", "stack", "submit", str(file), "--name", name, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return int(json.loads(done.stdout)["batch"])


def cancel(batch: int) -> None:
    command = [sys.executable, "-m", "stack", "cancel", str(batch)]
    subprocess.run(command, check=True, capture_output=True)


def tell(
    options: argparse.Namespace, submits: list[_mill.Measured], wholes: list[_mill.Measured]
) -> None:
    rows, figures = [], {}
    for key, name, found in (
        ("submit", "submit alone", submits),
        ("whole", "submit to the last result", wholes),
    ):
        rate = statistics.median(one.rate for one in found)
        cost = statistics.median(one.microseconds for one in found)
        rows.append([name, rate, max(one.rate for one in found), cost])
        figures[f"{key}_questions_per_second"] = round(rate)
        figures[f"{key}_processor_microseconds"] = round(cost, 1)
    title = f"{options.questions:,} questions, jobs of {options.job_size}, questions/s"
    _mill.tell(title, ["", "median", "best", "processor, µs a question"], rows)
    sizes = {"questions": options.questions, "job_size": options.job_size}
    _mill.tell_json("queue_and_database", **sizes, rounds=options.rounds, **figures)


if __name__ == "__main__":
    main()
