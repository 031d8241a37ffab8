"""The few statements in which SQLite and PostgreSQL differ.

The order of results. A poller follows `results.cursor`, so a row must never become
visible with a cursor below one that was seen already. On SQLite one transaction writes
at a time, and counting on from the last cursor is enough. On PostgreSQL transactions
commit in any order; the cursor begins with the transaction's id, and the view `results`
shows a row only when every transaction with a smaller id has ended
(https://www.postgresql.org/docs/current/functions-info.html, pg_snapshot_xmin).
A transaction that writes elsewhere in the same cluster for long therefore holds rows
back for as long: late, but never missed.
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

# The low bits number the rows of one transaction, the high bits order the transactions.
CURSOR_BITS = 20

# One transaction may add the rows of several jobs, one after the other: count on behind them.
_NEXT_CURSOR = sa.text(f"""
    SELECT greatest(x.first, 1 + (
        SELECT max(cursor) FROM result_rows
        WHERE batch_id = ANY(:batches)
          AND cursor >= x.first AND cursor < x.first + (1::bigint << {CURSOR_BITS})
    ))
    FROM (SELECT pg_current_xact_id()::text::bigint << {CURSOR_BITS} AS first) AS x
""")  # noqa: S608 - a number of our own


def is_postgresql(conn: sa.Connection) -> bool:
    """Tell which of the two it is."""
    return conn.dialect.name == "postgresql"


def insert_many(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert many rows: COPY on PostgreSQL, one prepared statement on SQLite."""
    if is_postgresql(conn):
        _copy(conn, table, columns, rows)
        return
    writers = [*_writers(conn, table, columns), *_times(table, columns)]
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    conn.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) VALUES ({marks})",  # noqa: S608 - names of our own tables
        list(_written(rows, writers)),
    )


def insert_once(conn: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key is taken; tell whether it was inserted."""
    insert = postgresql.insert if is_postgresql(conn) else sqlite.insert
    # Not its rowcount, which psycopg's driver does not tell of such a statement.
    made = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return conn.execute(made).first() is not None


def first_cursor(conn: sa.Connection, batches: Sequence[int]) -> int:
    """Return the cursor of the first row that the caller adds to these batches."""
    if is_postgresql(conn):
        return int(conn.scalar(_NEXT_CURSOR, {"batches": list(batches)}) or 0)
    return _next_tick(conn, batches) << CURSOR_BITS


def _next_tick(conn: sa.Connection, batches: Sequence[int]) -> int:
    # A retry deletes rows, the last ones perhaps, and a cursor must not be given out twice:
    # user_version is a number in the file's header that transactions cover and we are free to use.
    used = int(conn.scalar(sa.text("PRAGMA user_version")) or 0)
    tick = max(used, *(_last_cursor(conn, batch) >> CURSOR_BITS for batch in batches)) + 1
    conn.exec_driver_sql(f"PRAGMA user_version = {tick}")
    return tick


def _last_cursor(conn: sa.Connection, batch: int) -> int:
    query = sa.select(sa.func.max(result_rows.c.cursor)).where(result_rows.c.batch_id == batch)
    return int(conn.scalar(query) or 0)


def database_time(conn: sa.Connection) -> Any:  # noqa: ANN401 - a datetime or SQLite's text
    """Return the database's clock, UTC."""
    if is_postgresql(conn):
        return conn.scalar(sa.text("SELECT clock_timestamp()"))
    return conn.scalar(sa.text("SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')"))


def _copy(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    import psycopg  # SQLite needs none of it

    writers = _writers(conn, table, columns)
    names = ", ".join(f'"{name}"' for name in columns)
    statement = f'COPY "{table.name}" ({names}) FROM STDIN'
    raw = conn.connection.cursor()
    try:
        with raw.copy(statement) as copy:
            for row in _written(rows, writers):
                copy.write_row(row)
    except psycopg.Error as error:  # as SQLAlchemy tells the faults of its own statements
        told = exc.DBAPIError.instance(statement, None, error, psycopg.Error, dialect=conn.dialect)
        raise told from error
    finally:
        raw.close()


def _writers(
    conn: sa.Connection, table: sa.Table, columns: Sequence[str]
) -> list[tuple[int, Convert]]:
    """Return which values are written as what, by their places: what is sealed, and JSON."""
    cipher, found = cipher_of(conn.dialect), list[tuple[int, Convert]]()
    for i, name in enumerate(columns):
        kind = table.c[name].type
        if isinstance(kind, Encrypted):
            found.append((i, kind.encrypter(cipher)))
        if isinstance(kind, sa.JSON | EncryptedJSON):
            found.append((i, _dumped))
    return found


def _times(table: sa.Table, columns: Sequence[str]) -> list[tuple[int, Convert]]:
    kinds = (table.c[name].type for name in columns)
    return [(i, _sqlite_time) for i, kind in enumerate(kinds) if isinstance(kind, UtcDateTime)]


def _written(
    rows: Iterable[Sequence[Any]], writers: Sequence[tuple[int, Convert]]
) -> Iterable[Sequence[Any]]:
    """Return the rows as they are written; by columns, as row by row takes twice as long."""
    if not writers:
        return rows
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for i, convert in writers if columns else ():  # one value may be written as JSON, then sealed
        columns[i] = [None if value is None else convert(value) for value in columns[i]]
    return zip(*columns, strict=True)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sqlite_time(value: datetime) -> str:
    utc = value.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(sep=" ", timespec="microseconds")


def database_identity(conn: sa.Connection) -> str:
    """Return what tells this database from every other, the same from wherever it is asked."""
    if not is_postgresql(conn):
        file = Path(str(conn.engine.url.database)).stat()
        return f"sqlite:{file.st_dev}:{file.st_ino}"
    found = conn.execute(
        sa.text(
            "SELECT system_identifier, oid FROM pg_control_system(), pg_database"
            " WHERE datname = current_database()"
        )
    ).one()
    return f"postgresql:{found.system_identifier}:{found.oid}"
