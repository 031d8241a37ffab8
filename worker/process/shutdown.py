"""Graceful shutdown: give back jobs that exceed the grace period.

After SIGTERM, running jobs finish first. When the grace period expires, unfinished jobs are
queued again, which uses up no attempt, and the process ends; the fence refuses later writes.
Not covered: a model that blocks all other threads. Its job waits until its lease expires.
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

_POLL_SECONDS = 0.1


class GracefulShutdown:
    """A thread that ends the process when the grace period expires."""

    def __init__(
        self,
        context: JobContext,
        draining: Callable[[], bool],
        seconds: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Prepare the thread without starting it.

        Args:
            context: has the leases of the claimed jobs.
            draining: returns whether the worker was stopped.
            seconds: the grace period. Higher: fewer jobs run twice, slower shutdown.
            end: ends the process with an exit status.
        """
        self._context, self._draining, self._seconds, self._end = context, draining, seconds, end

    def start(self) -> None:
        """Start the thread in the child, after the fork."""
        threading.Thread(target=self.run, name="shutdown", daemon=True).start()

    def run(self) -> None:
        """Wait for the shutdown, then give back jobs that exceed the grace period."""
        while not self._draining():
            time.sleep(_POLL_SECONDS)
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if unfinished := self._context.leases.jobs:
            log.warning("grace period expired", jobs=len(unfinished))
            self._context.leases.remove(unfinished)
            store.give_back_jobs(self._context, unfinished)
            self._end(1)
