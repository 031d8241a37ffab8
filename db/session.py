"""Transactions and read-only snapshots.

Only `transaction` commits. Faults of the database are raised as `DatabaseUnavailable` or
`SchemaMissing`, with its address but without the password. Every other error of SQLAlchemy is
a bug and passes through.
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
    """Run the block in one transaction, and roll it back if the block raises.

    Raises:
        DatabaseUnavailable: the database does not answer, or refuses to serve.
        SchemaMissing: the database lacks a table.
    """
    with _database_errors(engine), engine.begin() as conn:
        yield conn


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block on one snapshot, without the writer's lock.

    Raises:
        DatabaseUnavailable: the database does not answer, or refuses to serve.
        SchemaMissing: the database lacks a table.
    """
    options: dict[str, Any] = {READING: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _database_errors(engine), engine.connect() as conn:
        yield conn.execution_options(**options)


@contextmanager
def _database_errors(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        cause = str(error.orig).strip()
        if "no such table" in cause or "UndefinedTable" in type(error.orig).__name__:
            raise SchemaMissing(database_address(engine), None, REVISION) from error
        if not _is_unavailable(error):
            raise
        message = cause.splitlines()[0] if cause else "no answer"
        problem = tls_diagnosis.postgres_fault(engine.url, cause) or message
        raise DatabaseUnavailable(database_address(engine), problem) from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable(database_address(engine), str(error).splitlines()[0]) from error


def _is_unavailable(error: exc.DBAPIError) -> bool:
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return True
    if type(error) is exc.DatabaseError:  # SQLite: the file is damaged or not a database
        return True
    return error.statement is None  # no statement ran: the connection failed


def database_address(engine: sa.Engine) -> str:
    """Return the database's URL without its password."""
    return redact(engine.url.render_as_string(hide_password=True))
