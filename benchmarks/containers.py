"""Speed of four workers in containers compared with four bare workers.

Measures, one after the other on the same cores: the stack of docker-compose.yml with four workers,
and four worker processes with a PostgreSQL and a Redis outside containers. Each worker has one
thread and the sample's knowledge base. The sample's questions get other punctuation at the end, so
that all differ. The rate is from the first to the last stored result, by the database's own times.
The start of a command is in neither rate. Against the containers: Flower and the HTTP front also
run in them.

    python benchmarks/containers.py [--repeat 12] [--workers 4] [--rounds 2] [--image answermill]

Needs Docker, Compose, and the images: `docker compose build`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import _mill
import _models

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `tests`

from tests.compose.project import Project

_SECONDS = 600  # limit for all of the questions together
_NAME = "bench"

Run = Callable[..., str]  # runs a command of Answermill and returns its output


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=12)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--image", default="answermill", help="without its tag")
    options = parser.parse_args()
    texts = _models.different(_models.read(_models.SAMPLE / "questions.csv"), options.repeat)
    inside, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = _models.write(Path(folder) / "questions.csv", texts)
        variables = {"ANSWERMILL_IMAGE": options.image, "WORKER_CPUS": "1"}
        stack = Project("answermill-bench", Path(folder), **variables)
        stack.make_secrets()
        for number in range(options.rounds):
            inside.append(in_containers(stack, options.workers, file))
            bare.append(without_containers(options.workers, file))
            print(f"round {number + 1}: {inside[-1]:.1f}, {bare[-1]:.1f}", file=sys.stderr)
    report(len(texts), options.workers, inside, bare)


def in_containers(stack: Project, workers: int, file: Path) -> float:
    """Return the questions/s of the stack."""
    try:
        stack.compose("up", "-d", "--no-build", "--scale", f"worker={workers}")
        stack.wait_for_workers(workers)
        return rate_of(lambda *words, **options: stack.producer(*words, **options).stdout, file)
    finally:
        stack.remove()


def without_containers(workers: int, file: Path) -> float:
    """Return the questions/s of bare processes with the same knowledge base."""
    with _mill.services() as settings:
        knowledge, labelled = (
            str(_models.SAMPLE / name) for name in ("knowledge.jsonl", "labelled.csv")
        )
        build = ["model", "build", "--name", _mill.MODEL, "--knowledge", knowledge]
        command(*build, "--calibrate", labelled)
        one_thread = {"ANSWERMILL_THREADS": "1"}
        with _mill.running(_models.WORKER, settings, workers, environment=one_thread):
            return rate_of(command, file)


def command(*words: str, **options: Any) -> str:  # noqa: ANN401 - options of subprocess.run
    """Run a command of Answermill outside containers and return its output."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*_models.COMMAND, *words], check=True, stdout=subprocess.PIPE, encoding="utf-8", **options
    )
    return done.stdout


def rate_of(run: Run, file: Path) -> float:
    """Submit the file and return its results a second.

    The time is from the first to the last result.
    """
    run("submit", "-", "--format", "csv", "--name", _NAME, input=file.read_text(encoding="utf-8"))
    deadline = time.monotonic() + _SECONDS
    while json.loads(run("status", _NAME, "--json"))["state"] != "done":
        if time.monotonic() > deadline:
            sys.exit(f"the batch was not done within {_SECONDS} s")
        time.sleep(1)
    lines = run("results", _NAME, "--format", "jsonl").splitlines()
    times = sorted(datetime.fromisoformat(json.loads(line)["answered_at"]) for line in lines)
    first = times.count(times[0])  # their work began before the measured time
    return (len(times) - first) / (times[-1] - times[0]).total_seconds()


def report(count: int, workers: int, inside: list[float], bare: list[float]) -> None:
    ratio = statistics.median(a / b for a, b in zip(inside, bare, strict=True))
    medians = statistics.median(inside), statistics.median(bare)
    title = f"{count:,} questions, {workers} workers of one thread, questions/s"
    head = ["in containers", "bare", "ratio"]
    _mill.print_table(title, head, [[*medians, f"{ratio:.3f}"]])
    _mill.print_json(
        "containers",
        questions=count,
        workers=workers,
        containers_questions_per_second=round(medians[0], 1),
        bare_questions_per_second=round(medians[1], 1),
        ratio=round(ratio, 3),
    )


if __name__ == "__main__":
    main()
