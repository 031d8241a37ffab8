"""The engine, and `transaction()`: the only place that commits.

Faults of the database come out of here as `DatabaseUnavailable` or `SchemaMissing`, its address
without the password; whatever else SQLAlchemy raises is our bug and passes through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from core.errors import DatabaseUnavailable, SchemaMissing
from core.settings.urls import redact
from db import tls_diagnosis
from db.tables import REVISION

READING = "answermill_reading"


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block in one transaction; commit it, or roll it back when it raises.

    Raises:
        DatabaseUnavailable: the database can't be reached, or does not serve.
        SchemaMissing: it lacks our tables.
    """
    with _translated(engine), engine.begin() as conn:
        yield conn


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block on one snapshot, without taking the writer's lock."""
    options: dict[str, Any] = {READING: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(engine), engine.connect() as conn:
        yield conn.execution_options(**options)


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        cause = str(error.orig).strip()
        if "no such table" in cause or "UndefinedTable" in type(error.orig).__name__:
            raise SchemaMissing(database_address(engine), None, REVISION) from error
        if not _is_unavailable(error):
            raise
        told = cause.splitlines()[0] if cause else "no answer"
        problem = tls_diagnosis.postgres_fault(engine.url, cause) or told
        raise DatabaseUnavailable(database_address(engine), problem) from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable(database_address(engine), str(error).splitlines()[0]) from error


def _is_unavailable(error: exc.DBAPIError) -> bool:
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return True
    if type(error) is exc.DatabaseError:  # SQLite: the file is damaged, or no database
        return True
    return error.statement is None  # it came to no statement: there is no connecting


def database_address(engine: sa.Engine) -> str:
    return redact(engine.url.render_as_string(hide_password=True))
