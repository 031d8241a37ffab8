"""How much of the speed of four bare workers do four in containers have?

Measures, one after the other on the same cores: the stack of docker-compose.yml with four
workers, and four worker processes beside a PostgreSQL and a Redis without containers; one
thread each, the sample's shop, its questions with other punctuation behind, so that no two are
equal. Told is the rate from the first to the last stored result, by the database's own times:
how long a command takes to start is in neither. Against the containers: Flower and the HTTP front
run beside them.

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

sys.path.insert(
    0, str(Path(__file__).parents[1])
)  # the tests' stack in containers serves here, too

from tests.compose.project import Project

_SECONDS = 600  # the longest that all of the questions may take
_NAME = "bench"

Run = Callable[..., str]  # a command of Answermill; returns what it printed


def main() -> None:
    """Measure and tell."""
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
        told = {"ANSWERMILL_IMAGE": options.image, "WORKER_CPUS": "1"}
        stack = Project("answermill-bench", Path(folder), **told)
        stack.make_secrets()
        for number in range(options.rounds):
            inside.append(in_containers(stack, options.workers, file))
            bare.append(without(options.workers, file))
            print(f"round {number + 1}: {inside[-1]:.1f}, {bare[-1]:.1f}", file=sys.stderr)
    tell(len(texts), options.workers, inside, bare)


def in_containers(stack: Project, workers: int, file: Path) -> float:
    """Return questions/s of the stack."""
    try:
        stack.compose("up", "-d", "--no-build", "--scale", f"worker={workers}")
        stack.wait_for_workers(workers)
        return rate_of(lambda *words, **given: stack.producer(*words, **given).stdout, file)
    finally:
        stack.remove()


def without(workers: int, file: Path) -> float:
    """Return questions/s of bare processes with the same knowledge base."""
    with _mill.surroundings() as settings:
        knowledge, labelled = (
            str(_models.SAMPLE / name) for name in ("knowledge.jsonl", "labelled.csv")
        )
        build = ["model", "build", "--name", _mill.MODEL, "--knowledge", knowledge]
        command(*build, "--calibrate", labelled)
        one = {"ANSWERMILL_THREADS": "1"}
        with _mill.running(_models.WORKER, settings, workers, told=one):
            return rate_of(command, file)


def command(*words: str, **given: Any) -> str:  # noqa: ANN401 - what subprocess takes
    """Run a command of Answermill here."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*_models.COMMAND, *words], check=True, stdout=subprocess.PIPE, encoding="utf-8", **given
    )
    return done.stdout


def rate_of(run: Run, file: Path) -> float:
    """Submit the file, wait for its end; return results a second, from the first to the last."""
    run("submit", "-", "--format", "csv", "--name", _NAME, input=file.read_text(encoding="utf-8"))
    until = time.monotonic() + _SECONDS
    while json.loads(run("status", _NAME, "--json"))["state"] != "done":
        if time.monotonic() > until:
            sys.exit(f"not done within {_SECONDS} s")
        time.sleep(1)
    lines = run("results", _NAME, "--format", "jsonl").splitlines()
    at = sorted(datetime.fromisoformat(json.loads(line)["answered_at"]) for line in lines)
    first = at.count(at[0])  # those are what began before
    return (len(at) - first) / (at[-1] - at[0]).total_seconds()


def tell(count: int, workers: int, inside: list[float], bare: list[float]) -> None:
    ratio = statistics.median(a / b for a, b in zip(inside, bare, strict=True))
    medians = statistics.median(inside), statistics.median(bare)
    title = f"{count:,} questions, {workers} workers of one thread, questions/s"
    head = ["in containers", "bare", "ratio"]
    _mill.tell(title, head, [[*medians, f"{ratio:.3f}"]])
    _mill.tell_json(
        "containers",
        questions=count,
        workers=workers,
        containers_questions_per_second=round(medians[0], 1),
        bare_questions_per_second=round(medians[1], 1),
        ratio=round(ratio, 3),
    )


if __name__ == "__main__":
    main()
