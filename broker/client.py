"""A Celery client that sends by name and knows no worker code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from db import queues
from db.config import Settings, redact
from db.entities import Lane
from db.errors import BrokerAway
from db.messages import AnswerJob

if TYPE_CHECKING:
    from celery import Celery

# Somebody waits at the terminal: one try and one more, instead of Celery's 6 seconds of them.
_PATIENCE = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.1}


def open_broker(settings: Settings) -> Celery:
    """Return a Celery client; nothing is connected to yet."""
    from celery import Celery

    app = Celery("answermill", set_as_current=False)
    app.conf.update(queues.celery_settings(settings))
    app.conf.broker_transport_options = app.conf.broker_transport_options | _PATIENCE
    return app


def check(app: Celery, settings: Settings) -> None:
    """Ask Redis for a sign of life.

    Raises:
        BrokerAway: there is none within a few seconds.
    """
    if settings.embedded_broker and not settings.redis_socket.exists():
        raise BrokerAway(redact(settings.broker), "it isn't running; start it with `answermill up`")
    queues.waiting(app, Lane.BULK, settings)


class Sender:
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
            waiting = queues.waiting(self._app, lane, self._settings)
        except BrokerAway:
            self._leave()
            return 0
        return max(0, self._settings.high_water - waiting)

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send jobs that are committed."""
        try:
            queues.send(self._app, messages, self._settings)
        except BrokerAway:
            self._leave()

    def _leave(self) -> None:
        if not self._away:
            self._on_away()
        self._away = True
