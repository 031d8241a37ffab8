"""Admission control: a limit on waiting questions, with a retry time.

The limits count questions that no worker has claimed, in each lane and in all lanes. A producer
measures them every few seconds, not for each slice. Several producers at once can therefore exceed
a limit by what they store between two measurements.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from core.domain.batch import Lane
from core.errors import BacklogFull, BatchTooLarge
from core.settings.settings import Settings
from db.queries import backlog
from db.session import reading

# Higher: a steadier drain rate, and a slower reaction to workers that start or stop.
_DRAIN_WINDOW = timedelta(seconds=30)
_DEFAULT_RETRY_SECONDS = 60  # while no question is finished, so that no rate is known
_MAX_RETRY_SECONDS = 3_600
_MEASURE_SECONDS = 5.0  # higher: fewer queries, and a larger excess over the limit


class WhenFull(StrEnum):
    """The reaction of a submission to a full backlog."""

    WAIT = "wait"  # continue as workers free capacity
    STOP = "stop"  # raise BacklogFull with the time to retry after


class AdmissionControl:
    """The capacity that one producer has in one lane."""

    def __init__(
        self, engine: sa.Engine, settings: Settings, lane: Lane, clock: Callable[[], datetime]
    ) -> None:
        self._engine, self._clock = engine, clock
        lane_limits = {
            Lane.BULK: settings.max_waiting_bulk,
            Lane.INTERACTIVE: settings.max_waiting_interactive,
        }
        # Each limit with the lanes that it counts; the last one counts all lanes that matter.
        self._limits: list[tuple[int, tuple[Lane, ...]]] = [(lane_limits[lane], (lane,))]
        if settings.max_waiting is not None:
            self._limits.append((settings.max_waiting, tuple(Lane)))
        self._capacity = 0
        self._measured_at = float("-inf")

    @property
    def limit(self) -> int:
        """Return how many questions may wait in an empty system."""
        return min(limit for limit, _ in self._limits)

    def check_capacity(self, count: int) -> None:
        """Raise unless `count` questions fit now.

        Raises:
            BatchTooLarge: they exceed the limit even in an empty system.
            BacklogFull: they do not fit now.
        """
        if count > self.limit:
            raise BatchTooLarge(count, self.limit)
        full = self._measure(count)
        if full is not None:
            raise full

    def reserve(
        self,
        count: int,
        when_full: WhenFull = WhenFull.STOP,
        on_full: Callable[[BacklogFull], None] = lambda _: None,
    ) -> None:
        """Reserve capacity for `count` questions before storing them.

        Args:
            count: at most `limit`.
            when_full: whether to wait for capacity.
            on_full: called once, when the wait begins.

        Raises:
            BacklogFull: the questions do not fit, and `when_full` is STOP.
        """
        recent = time.monotonic() - self._measured_at < _MEASURE_SECONDS
        full = None if recent and count <= self._capacity else self._measure(count)
        if full is not None and when_full is WhenFull.STOP:
            raise full
        if full is not None:
            on_full(full)
        while full is not None:
            time.sleep(min(full.retry_seconds, _MEASURE_SECONDS) * random.uniform(0.5, 1))  # noqa: S311 - jitter
            full = self._measure(count)
        self._capacity -= count

    def _measure(self, count: int) -> BacklogFull | None:
        """Measure the capacity, and return the error if `count` exceeds it."""
        since = self._clock() - _DRAIN_WINDOW
        with reading(self._engine) as conn:
            waiting = backlog.waiting(conn, self._limits[-1][1])
            capacities = {
                limit - sum(waiting[lane] for lane in lanes): (limit, lanes)
                for limit, lanes in self._limits
            }
            self._capacity, self._measured_at = min(capacities), time.monotonic()
            if self._capacity >= count:
                return None
            limit, lanes = capacities[self._capacity]
            rate = backlog.drained(conn, lanes, since) / _DRAIN_WINDOW.total_seconds()
        lane = None if len(lanes) > 1 else lanes[0].value
        retry_seconds = _drain_seconds(count - self._capacity, rate)
        return BacklogFull(lane, limit - self._capacity, limit, retry_seconds)


def _drain_seconds(excess: int, rate: float) -> int:
    """Return the seconds until `excess` questions are finished."""
    if not rate:
        return _DEFAULT_RETRY_SECONDS
    return min(_MAX_RETRY_SECONDS, math.ceil(excess / rate))
