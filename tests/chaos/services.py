"""Redis and PostgreSQL that can be hurt: stopped, killed, frozen, and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from stack.local.supervisor import redis_service
from tests.services import start_postgres

_START_SECONDS = 20
_RECOVERY_SECONDS = 3


class Redis:
    """The embedded Redis: on a socket, with an append-only file."""

    def __init__(self, settings) -> None:
        self._settings = settings
        self.client = redis.Redis(unix_socket_path=str(settings.redis_socket))
        self.start()

    def start(self) -> None:
        self._service = redis_service(self._settings)
        self._service.start()
        _await(self.client.ping, redis.RedisError)

    def signal(self, number: int) -> None:
        os.kill(self._service.pid, number)

    def kill(self, *, lose_file: bool) -> None:
        self.signal(signal.SIGKILL)
        self._service.stop()
        if lose_file:
            shutil.rmtree(self._settings.home / "redis")

    def stop(self) -> None:
        self.client.close()
        self._service.stop()


class Postgres:
    """A PostgreSQL server of our own, on a socket in the folder."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "pg"
        self._server = start_postgres(self._data)
        self.url = f"postgresql://postgres@/postgres?host={self._data}"
        with self._connected() as conn:
            # A killed server loses nothing by this; only a machine without power would.
            conn.execute("ALTER SYSTEM SET fsync = off")
            # The small disk must be filled on purpose only.
            conn.execute("ALTER SYSTEM SET max_wal_size = '64MB'")
            conn.execute("SELECT pg_reload_conf()")

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._data / ".s.PGSQL.5432"

    def close(self) -> None:
        self._server.cleanup()

    def start(self) -> None:
        listen = f'-h "" -k {self._data}'
        self._control("-o", listen, "-l", str(self._data / "log"), "start")

    def stop(self, mode: str) -> None:
        self._control("-m", mode, "stop")

    def recover(self) -> None:
        """Start it if it has ended by itself, as it does without a disk to write to."""
        try:
            _await(lambda: self._connected().close(), psycopg.OperationalError, _RECOVERY_SECONDS)
        except psycopg.OperationalError:
            self.start()

    def set(self, name: str, value: str | int | None) -> None:
        """Change a setting for all sessions, at once.

        None: back to its default.
        """
        change = "RESET {}" if value is None else "SET {} = {}"
        words = [sql.Identifier(name)] + ([] if value is None else [sql.Literal(value)])
        with self._connected() as conn:
            conn.execute("SET statement_timeout = 0")
            conn.execute(sql.SQL("ALTER SYSTEM " + change).format(*words))
            conn.execute("SELECT pg_reload_conf()")

    def cut_connections(self) -> None:
        with self._connected() as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'answermill'"
            )

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def _control(self, *words: str) -> None:
        subprocess.run(
            [self._server.bin_path / "pg_ctl", "-w", "-D", self._data, *words],
            user=self._server.system_user,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _await(call, error: type[Exception], seconds: float = _START_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while True:
        try:
            call()
        except error:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return
