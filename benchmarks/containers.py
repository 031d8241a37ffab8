"""How much of the speed of four bare workers do four in containers have?

Measures, one after the other on the same cores: the stack of docker-compose.yml with four
workers, and four worker processes beside a PostgreSQL and a Redis without containers; one
thread each, the sample's shop, its questions with a number behind, so that no two are equal.
Told is the rate from the first to the last stored result, by the database's own times: how long
a command takes to start is in neither. Against the containers: Flower and the HTTP front
run beside them.

    python benchmarks/containers.py [--repeat 12] [--workers 4] [--rounds 2] [--image answermill]

Needs Docker, Compose, and the images: `docker compose build`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import _mill
import _models

from db.config import Settings

ROOT = Path(__file__).parents[1]
_SECONDS = 600  # the longest: until the first version is built


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
        for number in range(options.rounds):
            with stack(Path(folder), options.workers, options.image) as compose:
                inside.append(in_containers(compose, file))
            bare.append(without(Path(folder), options.workers, file))
            print(f"round {number + 1}: {inside[-1]:.1f}, {bare[-1]:.1f}", file=sys.stderr)
    tell(len(texts), options.workers, inside, bare)


@contextmanager
def stack(folder: Path, workers: int, image: str) -> Iterator[list[str]]:
    """Run the stack until its workers have loaded their model; yield how to call Compose."""
    secrets = folder / "secrets"
    if not secrets.exists():
        run(["sh", "deploy/secrets", str(secrets)])
    told = {"COMPOSE_PROJECT_NAME": "answermill-bench", "SECRETS": str(secrets)}
    told |= {"FLOWER_PORT": free_port(), "WEB_PORT": free_port(), "WORKER_CPUS": "1"}
    told |= {"ANSWERMILL_IMAGE": image}  # Compose's, and no setting of ours
    compose = ["env", *(f"{name}={value}" for name, value in told.items()), *_compose()]
    try:
        run([*compose, "up", "-d", "--no-build", "--scale", f"worker={workers}"])
        logs = [*compose, "logs", "worker"]
        _models.wait(lambda: run(logs).count("model loaded") >= workers, lambda: run(logs)[-2000:])
        yield compose
    finally:
        run([*compose, "down", "-v"])


def _compose() -> list[str]:
    """Return how Compose is called here: as a plug-in of the client, or the old program."""
    plugin = [shutil.which("docker") or "docker", "compose"]
    there = subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0
    return plugin if there else [shutil.which("docker-compose") or "docker-compose"]


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run(command: Sequence[str], file: Path | None = None) -> str:
    """Run a command, with a file to read if there is one; return what it printed."""
    with ExitStack() as held:
        given = held.enter_context(file.open("rb")) if file else subprocess.DEVNULL
        done = subprocess.run(
            command, stdin=given, cwd=ROOT, capture_output=True, timeout=_SECONDS, check=False
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()[-2000:]}")
    return done.stdout.decode()


def in_containers(compose: list[str], file: Path) -> float:
    """Return questions/s of the stack."""
    command = [*compose, "run", "--rm", "-T", "producer"]
    run([*command, "submit", "-", "--format", "csv", "--name", "bench"], file)
    return rate_of(command)


def without(folder: Path, workers: int, file: Path) -> float:
    """Return questions/s of bare processes with the same knowledge base."""
    with _mill.surroundings() as settings, ExitStack() as at_exit:
        sample = _models.SAMPLE
        build = ["model", "build", "--name", _mill.MODEL]
        build += ["--knowledge", str(sample / "knowledge.jsonl")]
        run([*_models.COMMAND, *build, "--calibrate", str(sample / "labelled.csv")])
        logs = [folder / f"worker-{n}.log" for n in range(workers)]
        for log in logs:
            at_exit.enter_context(worker(settings, log))
        for log in logs:
            _models.wait(lambda log=log: "model loaded" in log.read_text(), log.read_text)
        run([*_models.COMMAND, "submit", str(file), "--name", "bench"])
        return rate_of(_models.COMMAND)


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[None]:
    told = {"ANSWERMILL_THREADS": "1", "ANSWERMILL_HOME": str(settings.home)}
    with log.open("wb") as out:
        command = [*_models.COMMAND, "worker"]
        process = subprocess.Popen(command, env=os.environ | told, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def rate_of(command: Sequence[str]) -> float:
    """Wait for the batch; return its results a second, from the first to the last."""
    until = time.monotonic() + _SECONDS
    while json.loads(run([*command, "status", "bench", "--json"]))["state"] != "done":
        if time.monotonic() > until:
            sys.exit(f"not done within {_SECONDS} s")
        time.sleep(1)
    lines = run([*command, "results", "bench", "--format", "jsonl"]).splitlines()
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
