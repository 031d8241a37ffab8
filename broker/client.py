"""A Celery client that sends tasks by name and imports no worker code.

Celery is imported when a client is opened, because it takes long to import.
Not covered: sending and counting messages (`broker.lanes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import celery_config, lanes
from core.domain.batch import Lane
from core.errors import BrokerUnavailable
from core.settings.settings import Settings
from core.settings.urls import redact

if TYPE_CHECKING:
    from celery import Celery

# A user waits at the terminal: one retry after 0.1 s, instead of Celery's 6 seconds of retries.
_FEW_RETRIES = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.1}


def open_broker(settings: Settings) -> Celery:
    """Return a Celery client that has not connected yet."""
    from celery import Celery

    app = Celery("answermill", set_as_current=False)
    app.conf.update(celery_config.celery_settings(settings))
    app.conf.broker_transport_options = app.conf.broker_transport_options | _FEW_RETRIES
    return app


def check(app: Celery, settings: Settings) -> None:
    """Check that Redis answers.

    Raises:
        BrokerUnavailable: Redis does not answer within a few seconds.
    """
    if settings.embedded_broker and not settings.redis_socket.exists():
        raise BrokerUnavailable(
            redact(settings.broker), "not running; start it with `answermill up`"
        )
    lanes.waiting(app, Lane.BULK, settings)
