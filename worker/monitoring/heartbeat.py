"""The heartbeat of a replica: its status, stored every few seconds.

The status is kept in memory, and a thread stores it in the replica's row. It includes the
time of the last progress, because a heartbeat alone would continue while the model hangs.
Not covered: judging the rows: `worker.monitoring.health_check`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
import structlog

from core.domain.batch import Lane
from core.domain.replica import ReplicaState, ReplicaStatus
from core.errors import ServiceUnavailable
from db.queries import replicas
from db.session import reading, transaction

log = structlog.get_logger()

# Higher: fewer queries, slower detection of dead replicas.
_HEARTBEAT_SECONDS = 5.0


def name_of(host: str, parent: int, slot: int) -> str:
    """Return the name of a replica, which its successor in the slot inherits."""
    return f"{host}/{parent}/{slot}"


class Heartbeat:
    """The status of a replica, and the thread that stores it."""

    def __init__(
        self,
        engine: sa.Engine,
        clock: Callable[[], datetime],
        *,
        slot: int,
        lanes: Sequence[Lane],
        model_version: Callable[[], str],
        failures: Callable[[], tuple[int, bool]] = lambda: (0, False),
    ) -> None:
        """Begin with a replica without a job.

        Args:
            engine: the database.
            clock: the database's time.
            slot: number of the replica within the worker, from 0.
            lanes: the lanes of the worker.
            model_version: returns the version in production.
            failures: returns the number of failed attempts in a row, and whether the circuit
                breaker is open.
        """
        self._engine, self._clock = engine, clock
        self._model_version, self._failures = model_version, failures
        now, host = clock(), socket.gethostname()
        self._status = ReplicaStatus(
            name=name_of(host, os.getppid(), slot),
            host=host,
            lanes=",".join(lanes),
            state=ReplicaState.READY,
            job_id=None,
            model_version=model_version(),
            failures=0,
            started_at=now,
            seen_at=now,
            progress_at=now,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @contextmanager
    def working_on(self, job_id: int) -> Iterator[None]:
        """Show the job in the status within the block."""
        self._update(job_id)
        try:
            yield
        finally:
            self._update(None)

    def progress(self) -> None:
        """Record progress with the current job."""
        self._update(self._status.job_id)

    def _update(self, job_id: int | None) -> None:
        # The clock sometimes queries the database. If it is unavailable, the job goes on.
        try:
            now = self._clock()
        except ServiceUnavailable:
            now = self._status.progress_at
        self._status = replace(self._status, job_id=job_id, progress_at=now)

    def start(self) -> None:
        """Start the thread in the child, after the fork."""
        try:
            self._forget_ended()
            self.report()
        except ServiceUnavailable as error:
            log.warning("heartbeat not stored", error=str(error))
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join()

    def report(self) -> None:
        """Store the status once.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        now = self._clock()
        failures, paused = self._failures()
        status = replace(
            self._status,
            state=ReplicaState.PAUSED if paused else ReplicaState.READY,
            failures=failures,
            model_version=self._model_version(),
            seen_at=now,
        )
        with transaction(self._engine) as conn:
            replicas.report(conn, status)
            replicas.forget_silent(conn, now)

    def _forget_ended(self) -> None:
        """Delete the rows of this host's ended workers."""
        with reading(self._engine) as conn:
            names = [status.name for status in replicas.on_host(conn, self._status.host)]
        ended = [name for name in names if not _is_alive(int(name.split("/")[-2]))]
        if ended:
            with transaction(self._engine) as conn:
                replicas.forget(conn, ended)

    def _run(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            try:
                self.report()
            except ServiceUnavailable as error:
                log.warning("heartbeat not stored", error=str(error))
            except Exception:
                log.exception("heartbeat failed")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
