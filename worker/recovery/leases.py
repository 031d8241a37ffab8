"""A thread that renews the leases of a process's claimed jobs.

If a renewal fails, the lease may expire. The fence detects a lost lease when results are
stored.
Not covered: taking back expired leases: `worker.recovery.sweep`.
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

# A lease survives two failed renewals. Higher: more queries, more failures tolerated.
_RENEWALS_PER_LEASE = 3


class LeaseRenewer:
    """The claimed jobs of a process, and the thread that renews their leases."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime], lease: timedelta) -> None:
        self._engine, self._clock, self._lease = engine, clock, lease
        self._jobs: frozenset[Job] = frozenset()
        self._lock = threading.Lock()  # guards changes of _jobs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Start the thread in the child, after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, after which the leases expire."""
        self._stop.set()
        self._thread.join()

    @property
    def jobs(self) -> frozenset[Job]:
        """The jobs whose leases are renewed."""
        return self._jobs

    def add(self, claimed: Iterable[Job]) -> None:
        """Begin to renew the leases of these jobs."""
        with self._lock:
            self._jobs |= frozenset(claimed)

    def remove(self, claimed: Iterable[Job]) -> None:
        """Stop the renewal for these jobs."""
        with self._lock:
            self._jobs -= frozenset(claimed)

    def _run(self) -> None:
        pause = self._lease.total_seconds() / _RENEWALS_PER_LEASE
        while not self._stop.wait(pause):
            for job in self._jobs:
                self._renew(job)

    def _renew(self, job: Job) -> None:
        try:
            with transaction(self._engine) as conn:
                jobs.renew(conn, job, lease=self._lease, now=self._clock())
        except LeaseLost:
            # The job may have finished a moment ago. Otherwise the fence refuses its results.
            if job in self._jobs:
                log.warning("lease lost", job=job.id, attempt=job.attempt)
        except ServiceUnavailable as error:
            log.warning("lease not renewed", job=job.id, error=str(error))
