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

from stack.embedded import redis_service
from tests.services import start_postgres

_START_SECONDS = 20


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
            conn.execute("SELECT pg_reload_conf()")

    def close(self) -> None:
        self._server.cleanup()

    def start(self) -> None:
        listen = f'-h "" -k {self._data}'
        self._control("-o", listen, "-l", str(self._data / "log"), "start")

    def stop(self, mode: str) -> None:
        self._control("-m", mode, "stop")

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


def _await(call, error: type[Exception]) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            call()
        except error:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return
