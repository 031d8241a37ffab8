"""The database and Redis, opened as the settings say and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from core.settings.settings import Settings
from db.schema import prepare

if TYPE_CHECKING:
    from celery import Celery


@contextmanager
def database(settings: Settings) -> Iterator[sa.Engine]:
    """Open the database; the embedded one is made when there is none.

    Raises:
        DatabaseUnavailable: it can't be reached.
        SchemaMissing: it is not ours to upgrade and lacks our tables.
    """
    engine = prepare(settings)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def both(settings: Settings) -> Iterator[tuple[sa.Engine, Celery]]:
    """Open the database and a client of Redis, which is not connected to yet."""
    from broker.client import open_broker

    with database(settings) as engine:
        client = open_broker(settings)
        try:
            yield engine, client
        finally:
            client.close()
