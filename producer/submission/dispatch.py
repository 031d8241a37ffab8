"""CAPTION producer.submission.dispatch."""

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
    """Sends jobs while Redis has room for them; what it doesn't send, a worker's sweep does.

    Redis going away stops nothing: `on_away` is told once, and nothing is sent any more.
    """

    def __init__(
        self, app: Celery, settings: Settings, on_away: Callable[[], None] = lambda: None
    ) -> None:
        self._app, self._settings, self._on_away = app, settings, on_away
        self._away = False

    def room(self, lane: Lane) -> int:
        """Return how many more jobs may wait in the lane."""
        if self._away:
            return 0
        try:
            waiting = lanes.waiting(self._app, lane, self._settings)
        except BrokerUnavailable:
            self._leave()
            return 0
        return max(0, self._settings.high_water - waiting)

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send jobs that are committed."""
        try:
            lanes.send(self._app, messages, self._settings)
        except BrokerUnavailable:
            self._leave()

    def _leave(self) -> None:
        if not self._away:
            self._on_away()
        self._away = True
