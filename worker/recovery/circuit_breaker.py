"""The circuit breaker of a worker: pauses claims after repeated failures.

After several failed attempts in a row, the worker claims no job for a while, then one job. If
that fails too, the pause doubles. So a model that fails on every question does not use up the
attempts of a batch. The count is in memory that the parent shares with its children, so it
survives a child. A replica that finds its slot marked as working counts a failed attempt,
because its predecessor died during a job.
Not covered: several workers; and the count is lost if the parent dies. No lock guards it,
because a child killed with the lock would block the others. Two replicas that count at the
same moment may count one attempt, which is harmless.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import sharedctypes

import structlog

log = structlog.get_logger()

_MAX_PAUSE_SECONDS = 600.0
_MAX_DOUBLINGS = 16  # keeps the power of two within a float


class CircuitBreaker:
    """The number of failed attempts in a row, shared by all replicas.

    The parent creates it before any fork.
    """

    def __init__(
        self,
        failures: int,
        seconds: float,
        replicas: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin closed.

        Args:
            failures: failed attempts in a row that open the breaker.
            seconds: length of the first pause.
            replicas: number of processes that share the breaker.
            now: the monotonic time in seconds, the same in every process of the machine.
        """
        self._max_failures, self._seconds, self._now = failures, seconds, now
        self._failures = sharedctypes.RawValue("i", 0)
        self._paused_until = sharedctypes.RawValue("d", 0.0)
        self._working = sharedctypes.RawArray("b", replicas)

    def state(self) -> tuple[int, bool]:
        """Return the failed attempts in a row, and whether it is open."""
        return self._failures.value, self._failures.value >= self._max_failures

    def count_predecessor_crash(self, slot: int) -> None:
        """Count a failed attempt if the slot's last process died during a job."""
        if self._working[slot]:
            self._working[slot] = 0
            self.failed()

    def seconds_to_wait(self) -> float:
        """Return the seconds until a job may be claimed, or 0.0.

        If the breaker is open and the pause has ended, the caller may try one job, and the next
        pause begins for all other callers.
        """
        if self._failures.value < self._max_failures:
            return 0.0
        left = float(self._paused_until.value) - self._now()
        if left <= 0:
            self._pause()
        return max(0.0, left)

    @contextmanager
    def attempt(self, slot: int) -> Iterator[None]:
        """Mark the slot as working within the block."""
        self._working[slot] = 1
        try:
            yield
        finally:
            self._working[slot] = 0

    def failed(self) -> None:
        """Count a failed attempt."""
        self._failures.value += 1
        failures = self._failures.value
        if failures < self._max_failures:
            return
        log.error("circuit breaker opened", failures=failures, retry_seconds=round(self._pause()))

    def succeeded(self) -> None:
        """Reset the count, because a job was answered."""
        failures, self._failures.value = self._failures.value, 0
        if failures >= self._max_failures:
            log.info("circuit breaker closed", failures=failures)

    def reset(self) -> None:
        """Reset the count, because another model answers now."""
        self.succeeded()

    def _pause(self) -> float:
        """Begin a pause, and return its length in seconds."""
        doublings: int = min(self._failures.value - self._max_failures, _MAX_DOUBLINGS)
        pause = min(_MAX_PAUSE_SECONDS, self._seconds * 2.0**doublings)
        self._paused_until.value = self._now() + pause
        return pause
