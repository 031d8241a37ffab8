"""Connections of a producer, opened from the settings and closed again.

A command opens a `ProducerContext` and passes it to a use case. The client of Redis connects when
it is first used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from core.settings.settings import Settings
from db.schema import prepare

if TYPE_CHECKING:
    from celery import Celery


@dataclass(frozen=True, slots=True)
class ProducerContext:
    """The settings, the database and the Redis client of a use case."""

    settings: Settings
    engine: sa.Engine
    client: Celery


@contextmanager
def database(settings: Settings) -> Iterator[sa.Engine]:
    """Open the database, and create the embedded one if it is missing.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
        SchemaMissing: a database that the operator upgrades lacks the tables.
    """
    engine = prepare(settings)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def producer_context(settings: Settings) -> Iterator[ProducerContext]:
    """Open the database and create a client of Redis, not connected yet."""
    from broker.client import open_broker

    with database(settings) as engine:
        client = open_broker(settings)
        try:
            yield ProducerContext(settings, engine, client)
        finally:
            client.close()
