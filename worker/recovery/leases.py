"""Renewing the leases of the jobs that a process holds, from a thread of its own.

A lease that can't be renewed is left to run out; whether it was lost is decided by the
fence when results are stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog

from core.domain.job import Job
from core.errors import LeaseLost, ServiceUnavailable
from db.queries import jobs
from db.session import transaction

log = structlog.get_logger()

# A lease survives two renewals that fail.
_RENEWALS_PER_LEASE = 3


class LeaseRenewer:
    """Renews the leases of the jobs that are held, until they are let go."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime], lease: timedelta) -> None:
        self._engine, self._clock, self._lease = engine, clock, lease
        self._held: frozenset[Job] = frozenset()
        self._lock = threading.Lock()  # of changes to what is held
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to renew; called in the process that answers, after any fork."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is held runs out by itself."""
        self._stop.set()
        self._thread.join()

    @property
    def jobs(self) -> frozenset[Job]:
        """The jobs whose leases are renewed."""
        return self._held

    def add(self, held: Iterable[Job]) -> None:
        """Renew these jobs' leases, too."""
        with self._lock:
            self._held |= frozenset(held)

    def remove(self, held: Iterable[Job]) -> None:
        """Renew these jobs' leases no more."""
        with self._lock:
            self._held -= frozenset(held)

    def _run(self) -> None:
        pause = self._lease.total_seconds() / _RENEWALS_PER_LEASE
        while not self._stop.wait(pause):
            for job in self._held:
                self._renew(job)

    def _renew(self, job: Job) -> None:
        try:
            with transaction(self._engine) as conn:
                jobs.renew(conn, job, lease=self._lease, now=self._clock())
        except LeaseLost:
            # It may just have been finished; if not, the fence will refuse the results.
            if job in self._held:
                log.warning("lease lost", job=job.id, attempt=job.attempt)
        except ServiceUnavailable as error:
            log.warning("lease not renewed", job=job.id, error=str(error))
