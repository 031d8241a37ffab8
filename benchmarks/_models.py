"""Shared parts of the benchmarks of the real model: versions and workers.

There is one version for each kind of encoder. The versions are built once, from a knowledge
base, into a folder that may be kept (`--models`). Every measurement runs in its own process.
Not covered: a model that only sleeps (`_worker.py`).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import _mill
import psutil
import sqlalchemy as sa

from core.domain.model_version import ModelVersion, VersionState
from core.settings.load import load
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import model_versions
from db.session import reading, transaction
from db.tables import result_rows as rows

if TYPE_CHECKING:
    from worker.model.loaded_model import LoadedModel

KINDS = ("torch fp32", "onnx fp32", "onnx int8")  # bench@1, bench@2, bench@3

_NAME = "bench"
_MARKS = "…·•"  # no question ends in them
SAMPLE = Path(str(files("stack"))) / "sample"
COMMAND = [sys.executable, "-m", "stack"]
WORKER = [*COMMAND, "worker"]


def parser() -> argparse.ArgumentParser:
    """Return a parser with the options of all these benchmarks."""
    options = argparse.ArgumentParser()
    options.add_argument("--questions", type=Path, default=SAMPLE / "questions.csv")
    options.add_argument("--knowledge", type=Path, default=SAMPLE / "knowledge.jsonl")
    options.add_argument(
        "--models", type=Path, help="folder that keeps the versions for the next run"
    )
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options.add_argument("--rounds", type=int, default=3)
    return options


def read(path: Path) -> list[str]:
    """Return the questions of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row["question"] for row in csv.DictReader(file)]


def different(texts: list[str], repeat: int) -> list[str]:
    """Repeat the texts with other punctuation after each, so that all differ.

    They are repeated 40 times at most, and the encoder has to read each. A number at the end would
    have the same effect, but the cascade knows few numbers. It would leave questions to the encoder
    that it answers as customers write them.
    """
    endings = ["".join(marks) for size in range(4) for marks in product(_MARKS, repeat=size)]
    return [text + marks for marks in endings[:repeat] for text in dict.fromkeys(texts)]


@contextmanager
def built(options: argparse.Namespace, *how: str) -> Iterator[Path]:
    """Build the missing versions with the options `how`.

    Yields the home that has the versions.
    """
    with tempfile.TemporaryDirectory(prefix="am-", ignore_cleanup_errors=True) as folder:
        home = (options.models or Path(folder)).resolve()
        home = home / "-".join(word.strip("-") for word in how)
        environment = os.environ | {"ANSWERMILL_HOME": str(home)}
        if not (home / "models" / _NAME).is_dir():
            knowledge = ["--knowledge", str(options.knowledge)]
            _model(["build", "--name", _NAME, *how, *knowledge], environment)
            for kind in KINDS[1:]:
                engine, precision = kind.split()
                to = ["--engine", engine, "--precision", precision]
                _model(["convert", f"{_NAME}@1", *to], environment)
        yield home


def _model(words: Sequence[str], environment: dict[str, str]) -> None:
    command = [*COMMAND, "model", *words]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def version(kind: str) -> str:
    """Return the version whose encoder is of this kind."""
    return f"{_NAME}@{1 + KINDS.index(kind)}"


def register(settings: Settings, home: Path) -> None:
    """Register the versions of a home in a database that is still empty.

    The first is promoted.
    """
    engine = open_engine(settings)
    with transaction(engine) as conn:
        now = DatabaseClock(engine)()
        for digest in _digests(home):
            built = model_versions.register(conn, name=_NAME, digest=digest, metrics={}, now=now)
            if built.version == 1:
                model_versions.promote(conn, built, by="benchmark", now=now)
    engine.dispose()


def _digests(home: Path) -> list[str]:
    """Return the digest of each version's bundle, in the order of the kinds."""
    from worker.model.bundle.bundle import open_bundle

    return [open_bundle(bundle(home, kind)).manifest.digest for kind in KINDS]


def bundle(home: Path, kind: str) -> Path:
    """Return the bundle's folder of the version of this kind."""
    from worker.model.bundle.bundle import open_bundle

    for path in (home / "models" / _NAME).iterdir():
        manifest = open_bundle(path).manifest
        if f"{manifest.engine} {manifest.precision}" == kind:
            return path
    raise KeyError(kind)


@contextmanager
def worker(
    settings: Settings, home: Path, kind: str, replicas: int = 1, threads: int = 0
) -> Iterator[psutil.Process]:
    """Run a worker whose replicas have all loaded their model.

    Yields its parent process.
    """
    environment = _worker_environment(home, kind, replicas, threads)
    with _mill.running(WORKER, settings, replicas=replicas, environment=environment) as (pid,):
        yield psutil.Process(pid)


def start_worker(home: Path, kind: str, out: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker that takes its versions from a home.

    Its other settings come from the environment of this process.
    """
    environment = os.environ | _worker_environment(home, kind, replicas=1, threads=0)
    return subprocess.Popen(WORKER, env=environment, stdout=out, stderr=out)


def _worker_environment(home: Path, kind: str, replicas: int, threads: int) -> dict[str, str]:
    return {
        "ANSWERMILL_MODEL": version(kind),
        "ANSWERMILL_MODEL_STORE": str(home / "models"),
        "ANSWERMILL_REPLICAS": str(replicas),
        "ANSWERMILL_THREADS": str(threads),
    }


def write(path: Path, texts: Sequence[str]) -> Path:
    """Write questions as a file to submit."""
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["question"], *([text] for text in texts)])
    return path


def submit(file: Path) -> int:
    """Submit a file and return its batch."""
    command = [*COMMAND, "submit", str(file), "--name", file.stem, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return int(json.loads(done.stdout)["batch"])


def whole_job(
    database: str,
    home: Path,
    kind: str,
    texts: Sequence[str],
    *,
    replicas: int = 1,
    threads: int = 0,
) -> float:
    """Return the questions/s of a whole job.

    The time is from the start of `submit` to the last committed result. Redis and the
    database, `postgresql` or `sqlite`, are new and empty, and stopped afterwards.
    """
    return answered_job(database, home, kind, texts, replicas=replicas, threads=threads)[0]


def answered_job(
    database: str,
    home: Path,
    kind: str,
    texts: Sequence[str],
    *,
    replicas: int = 1,
    threads: int = 0,
) -> tuple[float, list[str | None]]:
    """Return the questions/s of a whole job, and the entry of each answer."""
    with tempfile.TemporaryDirectory() as folder, _mill.services(database) as settings:
        file = write(Path(folder) / "questions.csv", texts)
        warm = write(Path(folder) / "warm.csv", texts[:1])
        register(settings, home)
        with worker(settings, home, kind, replicas, threads):
            _mill.await_results(settings, submit(warm), 1)
            started = time.perf_counter()
            batch = submit(file)
            _mill.await_results(settings, batch, len(texts))
            rate = len(texts) / (time.perf_counter() - started)
        entries = _entries(settings, batch)
    print(kind, database, f"{replicas} x {threads} threads: {rate:.1f}/s", file=sys.stderr)
    return rate, entries


def _entries(settings: Settings, batch: int) -> list[str | None]:
    engine = open_engine(settings)
    query = sa.select(rows.c.entry_id).where(rows.c.batch_id == batch).order_by(rows.c.position)
    with reading(engine) as conn:
        entries = list(conn.scalars(query))
    engine.dispose()
    return entries


def loaded(home: Path, kind: str, threads: int) -> LoadedModel:
    """Load a version in this process.

    Its threads are limited as in a worker.
    """
    from worker.process.cpu_threads import set_thread_limits

    settings, threads = load(home=home), set_thread_limits(threads)
    from worker.model.registry import load_version  # numpy and torch come after their settings

    number = KINDS.index(kind)
    digest, built_at = _digests(home)[number], datetime.now(UTC)
    chosen = ModelVersion(_NAME, 1 + number, VersionState.BUILT, digest, {}, built_at)
    return load_version(settings, chosen, threads)


def in_own_process(file: str, *arguments: object) -> Any:  # noqa: ANN401 - any JSON value
    """Run the separate part of a benchmark's file in a process of its own.

    The arguments and the result that it returns are values of JSON.
    """
    command = [sys.executable, file, "--alone"]
    done = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    print(*arguments[:1], done.stdout.splitlines()[-1], file=sys.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run(main: Callable[[], None], alone: Callable[..., object]) -> None:
    """Run a benchmark, or its part that needs a process of its own."""
    if sys.argv[1:] == ["--alone"]:
        print(json.dumps(alone(*json.load(sys.stdin))))
    else:
        main()
