"""How many questions a second do the queue and the database carry, the model left out?

Measures, on PostgreSQL with fsync, everything on the same cores: `submit` alone, from its
start, Python's included, to its end; and from the start of `submit` to the last committed
result, with a worker whose model answers at once. With `--peers`, the same questions as one
task each of other queues, each landing a row in the same PostgreSQL (see `_peers.py`).
Favours us: no tokenising is done; peers are sent one task at a time where they know no other
way. Against us: peers read no file, check nothing and store no question.

    python -m venv PEERS && PEERS/bin/pip install -r benchmarks/peers.txt
    python benchmarks/queue_and_database.py [--questions 100000] [--rounds 3] [--peers PEERS]
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

from db.config import Settings

PEERS = Path(__file__).with_name("_peers.py")

TEXT = "Hello, I ordered a blue jacket last week and it still says processing, number {}, why?"


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-size", type=int, default=128)
    parser.add_argument("--peers", type=Path, help="the peers' environment")
    parser.add_argument("--peer-questions", type=int, default=3_000)
    options = parser.parse_args()
    os.environ["ANSWERMILL_JOB_SIZE"] = str(options.job_size)
    submits, wholes = [], []
    with tempfile.TemporaryDirectory() as folder, _mill.surroundings() as settings:
        file = write_questions(Path(folder) / "questions.csv", options.questions)
        for number in range(options.rounds):
            started = time.perf_counter()
            batch = submit(file, f"alone-{number}")
            submits.append(options.questions / (time.perf_counter() - started))
            print(f"submit alone: {submits[-1]:,.0f}/s", file=sys.stderr)
            cancel(batch)
        with _mill.workers(settings):
            time.sleep(5)  # lets the sweep end what was cancelled
            for number in range(options.rounds):
                started = time.perf_counter()
                batch = submit(file, f"whole-{number}")
                _mill.await_results(settings, batch, options.questions)
                wholes.append(options.questions / (time.perf_counter() - started))
                print(f"whole: {wholes[-1]:,.0f}/s", file=sys.stderr)
        found = peers(options, settings) if options.peers else {}
    tell(options, submits, wholes, found)


def peers(options: argparse.Namespace, settings: Settings) -> dict[str, float]:
    """Return questions/s of each peer that came to its end."""
    found = {}
    given = {
        "PEER_SOCKET": str(settings.redis_socket),
        "PEER_DATABASE": os.environ["ANSWERMILL_DATABASE_URL"],
        "PYTHONPATH": str(PEERS.parent),
    }
    for name in ("Celery", "RQ", "Dramatiq", "Huey", "Procrastinate"):
        command = [str(options.peers / "bin/python"), str(PEERS), name, str(options.peer_questions)]
        done = subprocess.run(
            command, env={**os.environ, **given}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{name}: {(done.stderr.splitlines() or ['?'])[-1]}", file=sys.stderr)
        else:
            found[name] = float(done.stdout.splitlines()[-1])
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
    options: argparse.Namespace,
    submits: list[float],
    wholes: list[float],
    found: dict[str, float],
) -> None:
    rows = [
        ["submit alone", statistics.median(submits), max(submits)],
        ["submit to the last result", statistics.median(wholes), max(wholes)],
    ]
    rows += [[f"{name}, a task each", speed, speed] for name, speed in found.items()]
    title = f"{options.questions:,} questions, jobs of {options.job_size}, questions/s"
    _mill.tell(title, ["", "median", "best"], rows)
    _mill.tell_json(
        "queue_and_database",
        questions=options.questions,
        job_size=options.job_size,
        rounds=options.rounds,
        submit_questions_per_second=round(statistics.median(submits)),
        whole_questions_per_second=round(statistics.median(wholes)),
        peers={name: round(speed) for name, speed in found.items()},
        over_best_peer=round(statistics.median(wholes) / max(found.values()), 1) if found else None,
    )


if __name__ == "__main__":
    main()
