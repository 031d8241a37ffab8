"""Dispatch of jobs to Redis, up to the high-water mark of each lane.

Jobs that are not sent stay queued in the database, and the sweep of a worker sends them later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker import lanes
from core.domain.batch import Lane
from core.errors import BrokerUnavailable
from core.messages import AnswerJob
from core.settings.settings import Settings

if TYPE_CHECKING:
    from celery import Celery


class JobDispatcher:
    """A sender of jobs that stops, without an error, when Redis fails.

    At the first failure it calls `on_unavailable`. After that, it sends nothing.
    """

    def __init__(
        self,
        client: Celery,
        settings: Settings,
        on_unavailable: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._settings = client, settings
        self._on_unavailable = on_unavailable
        self._available = True

    def free_slots(self, lane: Lane) -> int:
        """Return how many more jobs of the lane may wait in Redis."""
        if not self._available:
            return 0
        try:
            waiting = lanes.waiting(self._client, lane, self._settings)
        except BrokerUnavailable:
            self._stop()
            return 0
        return max(0, self._settings.high_water - waiting)

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send the messages of committed jobs."""
        try:
            lanes.send(self._client, messages, self._settings)
        except BrokerUnavailable:
            self._stop()

    def _stop(self) -> None:
        if self._available:
            self._on_unavailable()
        self._available = False
