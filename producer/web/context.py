"""Dependencies of every request: settings, database, Redis client, clock.

`create_app` stores one `RequestContext` in the app; views read it with `current_context`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from flask import current_app

from core.settings.settings import Settings
from db.clock import DatabaseClock
from producer.connections import ProducerContext
from producer.web.live.long_polling import ResultWaiter
from producer.web.live.server_sent_events import EventStreams
from producer.web.rate_limits import RateLimits

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Dependencies that all requests of an app share."""

    settings: Settings
    engine: sa.Engine
    client: Celery
    clock: DatabaseClock
    rates: RateLimits
    waiter: ResultWaiter
    streams: EventStreams

    @property
    def producer(self) -> ProducerContext:
        """Return the part of the context that use cases take."""
        return ProducerContext(self.settings, self.engine, self.client)


def build_context(settings: Settings, engine: sa.Engine, client: Celery) -> RequestContext:
    """Return the context of an app that uses this database and Redis client."""
    # Waiting requests occupy threads: a quarter of the threads stays free for other requests.
    slots = threading.BoundedSemaphore(settings.web_threads * 3 // 4)
    return RequestContext(
        settings,
        engine,
        client,
        DatabaseClock(engine),
        RateLimits(settings),
        ResultWaiter(engine, slots),
        EventStreams(engine, slots),
    )


def current_context() -> RequestContext:
    """Return the context of the app that serves this request."""
    return cast("RequestContext", current_app.extensions["answermill"])
