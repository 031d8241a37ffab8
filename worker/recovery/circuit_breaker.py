"""The circuit breaker: a model that fails on everything must not burn the batch.

After a run of failed attempts with no job answered in between, the worker takes no work
for a while, then one job; if that fails too, it waits twice as long. The count lies in
memory that the parent shares with its children, so that it outlives a child: a replica
that finds its slot's mark of a job in work knows that its forerunner died of that job.

Covers one worker, all of its replicas together. When the parent dies the count is lost. No
lock guards it: a child killed while it holds one would hang the others. Two replicas that
count at the same moment may count one attempt, which does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import sharedctypes

import structlog

log = structlog.get_logger()

_LONGEST_PAUSE = 600.0


class CircuitBreaker:
    """Counts attempts that failed in a row; made in the parent, used in every child."""

    def __init__(
        self,
        failures: int,
        seconds: float,
        replicas: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Be closed.

        Args:
            failures: so many in a row open it.
            seconds: how long it stays open the first time.
            replicas: processes that share it.
            now: the monotonic time, the same in every process of the machine.
        """
        self._most, self._seconds, self._now = failures, seconds, now
        self._count = sharedctypes.RawValue("i", 0)
        self._until = sharedctypes.RawValue("d", 0.0)
        self._at_work = sharedctypes.RawArray("b", replicas)

    def state(self) -> tuple[int, bool]:
        """Return how many attempts in a row failed, and whether it is open."""
        return self._count.value, self._count.value >= self._most

    def count_predecessor_crash(self, slot: int) -> None:
        """Begin in a slot: a job that its last process left behind counts as failed."""
        if self._at_work[slot]:
            self._at_work[slot] = 0
            self.failed()

    def seconds_to_wait(self) -> float:
        """Return 0.0 if a job may be taken now; when it is a try, no other may be for a while."""
        if self._count.value < self._most:
            return 0.0
        left = float(self._until.value) - self._now()
        if left <= 0:
            self._stay_open()
        return max(0.0, left)

    @contextmanager
    def attempt(self, slot: int) -> Iterator[None]:
        """Mark the slot as at work until the block ends, however it ends."""
        self._at_work[slot] = 1
        try:
            yield
        finally:
            self._at_work[slot] = 0

    def failed(self) -> None:
        """Count an attempt that failed."""
        self._count.value += 1
        failures = self._count.value
        if failures < self._most:
            return
        log.error("work stopped", failures=failures, retry_seconds=round(self._stay_open()))

    def succeeded(self) -> None:
        """Note that a job was answered: the model works."""
        failures, self._count.value = self._count.value, 0
        if failures >= self._most:
            log.info("work resumed", failures=failures)

    def reset(self) -> None:
        """Be closed: from now on another model answers, which has failed on nothing."""
        self.succeeded()

    def _stay_open(self) -> float:
        """Let no job be taken for a while; return for how long."""
        doublings: int = min(self._count.value - self._most, 16)
        pause = min(_LONGEST_PAUSE, self._seconds * 2.0**doublings)
        self._until.value = self._now() + pause
        return pause
