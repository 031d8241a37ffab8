"""The few statements in which SQLite and PostgreSQL differ.

Result order: a poller follows `results.cursor`. A row must never become visible with a cursor
below one that the poller has read. SQLite has one writer at a time, so counting up from the
last cursor suffices. PostgreSQL transactions commit in any order: there, a cursor starts with
the transaction's id, and the view `results` shows a row only after every transaction with a
smaller id has ended (pg_snapshot_xmin,
https://www.postgresql.org/docs/current/functions-info.html). Any long writing transaction in
the same cluster therefore delays rows; none is missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from db.column_types import UtcDateTime
from db.encrypted_columns import Convert, Encrypted, EncryptedJSON, cipher_of
from db.tables import result_rows

# Low bits of a cursor number the rows of one transaction; the other bits order the transactions.
# The view `results` has the same number in its SQL.
CURSOR_BITS = 20

# One transaction may add the rows of several jobs, one after the other: continue after the last.
_NEXT_CURSOR = sa.text(f"""
    SELECT greatest(x.first, 1 + (
        SELECT max(cursor) FROM result_rows
        WHERE batch_id = ANY(:batches)
          AND cursor >= x.first AND cursor < x.first + (1::bigint << {CURSOR_BITS})
    ))
    FROM (SELECT pg_current_xact_id()::text::bigint << {CURSOR_BITS} AS first) AS x
""")  # noqa: S608 - a constant number


def is_postgresql(conn: sa.Connection) -> bool:
    """Return whether the database is PostgreSQL and not SQLite."""
    return conn.dialect.name == "postgresql"


def insert_many(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert many rows: COPY on PostgreSQL, one prepared statement on SQLite."""
    if is_postgresql(conn):
        _copy(conn, table, columns, rows)
        return
    converters = [*_converters(conn, table, columns), *_time_converters(table, columns)]
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    conn.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) VALUES ({marks})",  # noqa: S608 - names from db.tables
        list(_converted(rows, converters)),
    )


def insert_once(conn: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row if its key is new, and return whether it was."""
    insert = postgresql.insert if is_postgresql(conn) else sqlite.insert
    # psycopg reports no rowcount for such a statement: RETURNING shows whether it inserted.
    statement = insert(table).values(values).on_conflict_do_nothing()
    return conn.execute(statement.returning(*table.primary_key)).first() is not None


def first_cursor(conn: sa.Connection, batches: Sequence[int]) -> int:
    """Return the cursor of the first row that this transaction adds next."""
    if is_postgresql(conn):
        return int(conn.scalar(_NEXT_CURSOR, {"batches": list(batches)}) or 0)
    return _next_tick(conn, batches) << CURSOR_BITS


def _next_tick(conn: sa.Connection, batches: Sequence[int]) -> int:
    # A retry may delete the last rows, and a cursor must never be reused. user_version, a free
    # number in the file's header that transactions cover, holds the highest tick so far.
    used = int(conn.scalar(sa.text("PRAGMA user_version")) or 0)
    tick = max(used, *(_last_cursor(conn, batch) >> CURSOR_BITS for batch in batches)) + 1
    conn.exec_driver_sql(f"PRAGMA user_version = {tick}")
    return tick


def _last_cursor(conn: sa.Connection, batch: int) -> int:
    query = sa.select(sa.func.max(result_rows.c.cursor)).where(result_rows.c.batch_id == batch)
    return int(conn.scalar(query) or 0)


def database_time(conn: sa.Connection) -> Any:  # noqa: ANN401 - a datetime or SQLite's text
    """Return the database's time, UTC."""
    if is_postgresql(conn):
        return conn.scalar(sa.text("SELECT clock_timestamp()"))
    return conn.scalar(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')"))


def _copy(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    import psycopg  # SQLite does not need it

    converters = _converters(conn, table, columns)
    names = ", ".join(f'"{name}"' for name in columns)
    statement = f'COPY "{table.name}" ({names}) FROM STDIN'
    raw = conn.connection.cursor()
    try:
        with raw.copy(statement) as copy:
            for row in _converted(rows, converters):
                copy.write_row(row)
    except psycopg.Error as error:  # wrapped as SQLAlchemy wraps the errors of its statements
        wrapped = exc.DBAPIError.instance(
            statement, None, error, psycopg.Error, dialect=conn.dialect
        )
        raise wrapped from error
    finally:
        raw.close()


def _converters(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str]
) -> list[tuple[int, Convert]]:
    """Return converters of encrypted and JSON columns, by column index."""
    cipher, converters = cipher_of(conn.dialect), list[tuple[int, Convert]]()
    for i, name in enumerate(columns):
        kind = table.c[name].type
        if isinstance(kind, Encrypted):
            converters.append((i, kind.encrypter(cipher)))
        if isinstance(kind, sa.JSON | EncryptedJSON):
            converters.append((i, _dumped))
    return converters


def _time_converters(table: sa.Table, columns: Sequence[str]) -> list[tuple[int, Convert]]:
    kinds = (table.c[name].type for name in columns)
    return [(i, _sqlite_time) for i, kind in enumerate(kinds) if isinstance(kind, UtcDateTime)]


def _converted(
    rows: Iterable[Sequence[Any]], converters: Sequence[tuple[int, Convert]]
) -> Iterable[Sequence[Any]]:
    """Return the rows as stored.

    The values are converted by column: row by row takes twice as long.
    """
    if not converters:
        return rows
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for i, convert in converters if columns else ():  # a column may have two: encrypt, then dump
        columns[i] = [None if value is None else convert(value) for value in columns[i]]
    return zip(*columns, strict=True)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sqlite_time(value: datetime) -> str:
    utc = value.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(sep=" ", timespec="microseconds")


def database_identity(conn: sa.Connection) -> str:
    """Return a text that identifies this database, the same for every client."""
    if not is_postgresql(conn):
        file = Path(str(conn.engine.url.database)).stat()
        return f"sqlite:{file.st_dev}:{file.st_ino}"
    row = conn.execute(
        sa.text(
            "SELECT system_identifier, oid FROM pg_control_system(), pg_database"
            " WHERE datname = current_database()"
        )
    ).one()
    return f"postgresql:{row.system_identifier}:{row.oid}"
