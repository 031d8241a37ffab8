"""What every request works with: the settings, the database, a client of Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from flask import current_app

from db.config import Settings

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the app was built around."""

    settings: Settings
    engine: sa.Engine
    client: Celery


def here() -> Surroundings:
    """Return those of the app that serves this request."""
    return cast("Surroundings", current_app.extensions["answermill"])
