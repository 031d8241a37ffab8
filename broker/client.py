"""A Celery client that sends by name and knows no worker code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import celery_config, lanes
from core.domain.batch import Lane
from core.errors import BrokerUnavailable
from core.settings.settings import Settings
from core.settings.urls import redact

if TYPE_CHECKING:
    from celery import Celery

# Somebody waits at the terminal: one try and one more, instead of Celery's 6 seconds of them.
_PATIENCE = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.1}


def open_broker(settings: Settings) -> Celery:
    """Return a Celery client; nothing is connected to yet."""
    from celery import Celery

    app = Celery("answermill", set_as_current=False)
    app.conf.update(celery_config.celery_settings(settings))
    app.conf.broker_transport_options = app.conf.broker_transport_options | _PATIENCE
    return app


def check(app: Celery, settings: Settings) -> None:
    """Ask Redis for a sign of life.

    Raises:
        BrokerUnavailable: there is none within a few seconds.
    """
    if settings.embedded_broker and not settings.redis_socket.exists():
        raise BrokerUnavailable(
            redact(settings.broker), "it isn't running; start it with `answermill up`"
        )
    lanes.waiting(app, Lane.BULK, settings)
