"""What every request works with: the settings, the database, a client of Redis, the clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from flask import current_app

from core.settings.settings import Settings
from db.clock import DatabaseClock
from producer.web.live.long_polling import Waiting
from producer.web.live.server_sent_events import Followers
from producer.web.rate_limits import Rates

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the app was built around."""

    settings: Settings
    engine: sa.Engine
    client: Celery
    clock: DatabaseClock
    rates: Rates
    waiting: Waiting
    followers: Followers


def surround(settings: Settings, engine: sa.Engine, client: Celery) -> Surroundings:
    """Return the surroundings of an app around an open database and a client of Redis."""
    places = threading.BoundedSemaphore(settings.web_threads * 3 // 4)
    return Surroundings(
        settings,
        engine,
        client,
        DatabaseClock(engine),
        Rates(settings),
        Waiting(engine, places),
        Followers(engine, places),
    )


def here() -> Surroundings:
    """Return those of the app that serves this request."""
    return cast("Surroundings", current_app.extensions["answermill"])
