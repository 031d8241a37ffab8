"""How many questions a second do the queue and the database carry, the model left out?

Measures, on PostgreSQL with fsync, everything on the same cores: `submit` alone, from its
start, Python's included, to its end; and from the start of `submit` to the last committed
result, with a worker whose model answers at once. Favours us: equal answers compress well
in no way that counts here, but no tokenising is done. Against us: fsync on every commit.

    python benchmarks/queue_and_database.py [--questions 100000] [--rounds 3] [--job-size 128]
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

TEXT = "Hello, I ordered a blue jacket last week and it still says processing, number {}, why?"


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-size", type=int, default=128)
    options = parser.parse_args()
    os.environ["ANSWERMILL_JOB_SIZE"] = str(options.job_size)
    submits, wholes = [], []
    with tempfile.TemporaryDirectory() as folder, _mill.surroundings() as settings:
        file = write_questions(Path(folder) / "questions.csv", options.questions)
        for number in range(options.rounds):
            started = time.perf_counter()
            batch = submit(file, f"alone-{number}")
            submits.append(options.questions / (time.perf_counter() - started))
            cancel(batch)
        with _mill.workers(settings):
            time.sleep(5)  # lets the sweep end what was cancelled
            for number in range(options.rounds):
                started = time.perf_counter()
                batch = submit(file, f"whole-{number}")
                _mill.await_results(settings, batch, options.questions)
                wholes.append(options.questions / (time.perf_counter() - started))
    tell(options, submits, wholes)


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


def tell(options: argparse.Namespace, submits: list[float], wholes: list[float]) -> None:
    rows = [
        ["submit alone", statistics.median(submits), max(submits)],
        ["submit to the last result", statistics.median(wholes), max(wholes)],
    ]
    title = f"{options.questions:,} questions, jobs of {options.job_size}, questions/s"
    _mill.tell(title, ["", "median", "best"], rows)
    _mill.tell_json(
        "queue_and_database",
        questions=options.questions,
        job_size=options.job_size,
        rounds=options.rounds,
        submit_questions_per_second=round(statistics.median(submits)),
        whole_questions_per_second=round(statistics.median(wholes)),
    )


if __name__ == "__main__":
    main()
