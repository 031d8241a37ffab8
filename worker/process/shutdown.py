"""The end of a worker that was told to stop: what it can't finish in time it gives back.

A job in work is finished first. When the grace period is over the job is queued again, which
burns no attempt, and the process ends: its work would be refused by the fence. Covers a model
that lets other threads run; a job that no thread can give back is left to its lease's end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import structlog

from worker.jobs import store
from worker.jobs.context import JobContext

log = structlog.get_logger()

_LOOK_SECONDS = 0.1


class GracefulShutdown:
    """Watches over the end of a process, from a thread of its own."""

    def __init__(
        self,
        desk: JobContext,
        draining: Callable[[], bool],
        seconds: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Be ready.

        Args:
            desk: knows the jobs that are held.
            draining: whether the worker was told to stop.
            seconds: how long its jobs may still take.
            end: ends the process.
        """
        self._desk, self._draining, self._seconds, self._end = desk, draining, seconds, end

    def start(self) -> None:
        """Begin to watch; called in the process that answers, after any fork."""
        threading.Thread(target=self.run, name="drain", daemon=True).start()

    def run(self) -> None:
        """Wait for the end; give back what is in work when the time is up."""
        while not self._draining():
            time.sleep(_LOOK_SECONDS)
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        if held := self._desk.leases.jobs:
            log.warning("grace period over", jobs=len(held))
            self._desk.leases.remove(held)
            store.give_back_jobs(self._desk, held)
            self._end(1)
