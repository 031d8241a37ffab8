"""What every request works with: the settings, the database, a client of Redis, the clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from flask import current_app

from core.settings.settings import Settings
from db.clock import DatabaseClock
from producer.web.live.long_polling import ResultWaiter
from producer.web.live.server_sent_events import EventStreams
from producer.web.rate_limits import RateLimits

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the app was built around."""

    settings: Settings
    engine: sa.Engine
    client: Celery
    clock: DatabaseClock
    rates: RateLimits
    waiter: ResultWaiter
    streams: EventStreams


def install_context(settings: Settings, engine: sa.Engine, client: Celery) -> RequestContext:
    """Return the surroundings of an app around an open database and a client of Redis."""
    places = threading.BoundedSemaphore(settings.web_threads * 3 // 4)
    return RequestContext(
        settings,
        engine,
        client,
        DatabaseClock(engine),
        RateLimits(settings),
        ResultWaiter(engine, places),
        EventStreams(engine, places),
    )


def current_context() -> RequestContext:
    """Return those of the app that serves this request."""
    return cast("RequestContext", current_app.extensions["answermill"])
