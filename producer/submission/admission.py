"""Room for more questions: how many may wait, and when to try again once too many do.

The limits are of questions that no worker has begun, in each lane and in all. They are
measured every few seconds rather than for each slice, so that several producers at once may
overshoot by what they store meanwhile.
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

_WINDOW = timedelta(seconds=30)  # of which the drain rate is
_UNKNOWN_SECONDS = 60  # to retry in, when nothing drains
_LONGEST_SECONDS = 3_600
_MEASURED_EVERY = 5.0  # seconds


class WhenFull(StrEnum):
    """What to do when too many questions wait."""

    WAIT = "wait"  # go on as workers make room
    STOP = "stop"  # say when to retry


class AdmissionControl:
    """The room that one producer has in one lane."""

    def __init__(
        self, engine: sa.Engine, settings: Settings, lane: Lane, clock: Callable[[], datetime]
    ) -> None:
        self._engine, self._clock = engine, clock
        own = {
            Lane.BULK: settings.max_waiting_bulk,
            Lane.INTERACTIVE: settings.max_waiting_interactive,
        }
        # Each limit and the lanes that count towards it; the last one's are all that matter.
        self._limits: list[tuple[int, tuple[Lane, ...]]] = [(own[lane], (lane,))]
        if settings.max_waiting is not None:
            self._limits.append((settings.max_waiting, tuple(Lane)))
        self._left = 0
        self._measured = float("-inf")

    @property
    def limit(self) -> int:
        """Return how many questions may wait when nothing else does."""
        return min(limit for limit, _ in self._limits)

    def check_capacity(self, count: int) -> None:
        """Refuse so many questions unless there is room for all of them now.

        Raises:
            BatchTooLarge: there never is.
            BacklogFull: there is not now.
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
        """Have room for so many questions, no more than `most`, which are about to be stored.

        Args:
            count: how many.
            when_full: whether to wait for room.
            on_full: told once, when it begins to wait.

        Raises:
            BacklogFull: there is no room, and it is not to wait.
        """
        fresh = time.monotonic() - self._measured < _MEASURED_EVERY
        full = None if fresh and count <= self._left else self._measure(count)
        if full is not None and when_full is WhenFull.STOP:
            raise full
        if full is not None:
            on_full(full)
        while full is not None:
            time.sleep(min(full.retry_seconds, _MEASURED_EVERY) * random.uniform(0.5, 1))  # noqa: S311 - jitter
            full = self._measure(count)
        self._left -= count

    def _measure(self, count: int) -> BacklogFull | None:
        """Look how much room there is; return what is wrong if it is less than so many."""
        since = self._clock() - _WINDOW
        with reading(self._engine) as conn:
            waiting = backlog.waiting(conn, self._limits[-1][1])
            left = {
                limit - sum(waiting[lane] for lane in lanes): (limit, lanes)
                for limit, lanes in self._limits
            }
            self._left, self._measured = min(left), time.monotonic()
            if self._left >= count:
                return None
            limit, lanes = left[self._left]
            rate = backlog.drained(conn, lanes, since) / _WINDOW.total_seconds()
        lane = None if len(lanes) > 1 else lanes[0].value
        return BacklogFull(lane, limit - self._left, limit, _retry_in(count - self._left, rate))


def _retry_in(excess: int, rate: float) -> int:
    """Return in how many seconds so many questions have drained."""
    return min(_LONGEST_SECONDS, math.ceil(excess / rate)) if rate else _UNKNOWN_SECONDS
