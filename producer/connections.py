"""The database and Redis, opened as the settings say and closed again."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from db.config import Settings
from db.session import prepare

if TYPE_CHECKING:
    from celery import Celery


@contextmanager
def database(settings: Settings) -> Iterator[sa.Engine]:
    """Open the database; the embedded one is made when there is none.

    Raises:
        DatabaseAway: it can't be reached.
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
    from producer.broker import open_broker

    with database(settings) as engine:
        client = open_broker(settings)
        try:
            yield engine, client
        finally:
            client.close()


def user() -> str:
    """Return who runs this process, for the record of changes."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container that has no names
        return str(os.getuid())
