"""How a replica is: kept in memory as it works, stored in its row every few seconds.

Health means progress: a thread that stores "alive" would go on doing so while the model
hangs, so what is stored is also when the work last got on.
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

_REPORT_SECONDS = 5.0


def name_of(host: str, parent: int, slot: int) -> str:
    """Return a replica's name: whoever takes the slot after a death takes the row over."""
    return f"{host}/{parent}/{slot}"


class Heartbeat:
    """What is known of this replica, and the thread that stores it."""

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
        """Know nothing yet.

        Args:
            engine: the database.
            clock: the database's time.
            slot: which of the worker's replicas this is.
            lanes: where it takes work from.
            model_version: tells what it answers with.
            failures: tells how many attempts in a row failed, and whether it takes no work now.
        """
        self._engine, self._clock = engine, clock
        self._model_version, self._failures = model_version, failures
        now, host = clock(), socket.gethostname()
        self._worker = ReplicaStatus(
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
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    @contextmanager
    def working_on(self, job_id: int) -> Iterator[None]:
        """Be at work on a job until the block ends."""
        self._note(job_id)
        try:
            yield
        finally:
            self._note(None)

    def progress(self) -> None:
        """Note that the work got on."""
        self._note(self._worker.job_id)

    def _note(self, job_id: int | None) -> None:
        # The clock asks the database now and then, which may be away: work goes on without.
        try:
            now = self._clock()
        except ServiceUnavailable:
            now = self._worker.progress_at
        self._worker = replace(self._worker, job_id=job_id, progress_at=now)

    def start(self) -> None:
        """Begin to store; called in the process that answers, after any fork."""
        try:
            self._forget_ended()
            self.report()
        except ServiceUnavailable as error:
            log.warning("status not stored", error=str(error))
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def report(self) -> None:
        """Store it once.

        Raises:
            ServiceUnavailable: the database is away.
        """
        now = self._clock()
        failures, paused = self._failures()
        worker = replace(
            self._worker,
            state=ReplicaState.PAUSED if paused else ReplicaState.READY,
            failures=failures,
            model_version=self._model_version(),
            seen_at=now,
        )
        with transaction(self._engine) as conn:
            replicas.report(conn, worker)
            replicas.forget_silent(conn, now)

    def _forget_ended(self) -> None:
        """Forget the workers of this host whose process is gone: they are no cause for alarm."""
        with reading(self._engine) as conn:
            found = [worker.name for worker in replicas.on_host(conn, self._worker.host)]
        ended = [name for name in found if not _is_alive(int(name.split("/")[-2]))]
        if ended:
            with transaction(self._engine) as conn:
                replicas.forget(conn, ended)

    def _run(self) -> None:
        while not self._stop.wait(_REPORT_SECONDS):
            try:
                self.report()
            except ServiceUnavailable as error:
                log.warning("status not stored", error=str(error))
            except Exception:
                log.exception("storing the status failed")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
