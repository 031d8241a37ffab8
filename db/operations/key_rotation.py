"""Re-encryption of all stored values with the current key, in small steps.

Each step is one transaction over some rows, in the order of the primary key. Values that are
already stored with the current key are skipped, so an interrupted rotation continues when it is
called again. Results keep their cursors: no poller gets a row twice.
Not covered: the list of keys, which is a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import sqlalchemy as sa

from db.encrypted_columns import Encrypted, EncryptedBytes, cipher_of
from db.session import reading, transaction
from db.tables import metadata

# Rows of a step where each holds up to a megabyte; higher: fewer transactions, more memory.
_LARGE_ROWS_STEP = 4

Progress = Callable[[str, int, int], None]


def reencrypt_all(engine: sa.Engine, *, step: int = 500, on_progress: Progress) -> int:
    """Re-encrypt all values with the engine's cipher, and count changed rows.

    Args:
        engine: the database.
        step: rows of a transaction. Higher: fewer transactions, longer row locks.
        on_progress: called with a table's name, how many of its rows are done, and of how many.

    Raises:
        KeyMissing: a value is encrypted with a key that is not configured. Finished steps stay.
    """
    return sum(
        _reencrypt_table(engine, table, columns, step, on_progress)
        for table, columns in encrypted_tables()
    )


def encrypted_tables() -> list[tuple[sa.Table, list[sa.Column[Any]]]]:
    """Return the tables that have encrypted columns, each with those columns."""
    tables = (
        (table, [c for c in table.c if isinstance(c.type, Encrypted)])
        for table in metadata.sorted_tables
    )
    return [(table, columns) for table, columns in tables if columns]


def _reencrypt_table(
    engine: sa.Engine,
    table: sa.Table,
    columns: Sequence[sa.Column[Any]],
    step: int,
    on_progress: Progress,
) -> int:
    with reading(engine) as conn:
        total = int(conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
    if any(isinstance(column.type, EncryptedBytes) for column in columns):
        step = min(step, _LARGE_ROWS_STEP)
    keys = len(table.primary_key)
    query = _raw_rows(table, columns).limit(step)
    last: Sequence[Any] | None = None
    seen = changed = 0
    while True:
        remaining = sa.true() if last is None else _after(table, last)
        with transaction(engine) as conn:
            rows = list(conn.execute(query.where(remaining)))
            changed += sum(_reencrypt_row(conn, table, columns, row) for row in rows)
        seen += len(rows)
        if rows:
            on_progress(table.name, seen, max(total, seen))
            last = rows[-1][:keys]
        if len(rows) < step:
            return changed


def _raw_rows(table: sa.Table, columns: Sequence[sa.Column[Any]]) -> sa.Select[Any]:
    raw = (
        sa.type_coerce(c, _encrypted_type(c).impl_instance).label(f"raw_{c.name}") for c in columns
    )
    keys = table.primary_key
    return sa.select(*keys, *raw).order_by(*keys).with_for_update()


def _after(table: sa.Table, last: Sequence[Any]) -> sa.ColumnElement[bool]:
    return sa.tuple_(*table.primary_key) > sa.tuple_(*map(sa.literal, last))


def _encrypted_type(column: sa.Column[Any]) -> Encrypted:
    return cast("Encrypted", column.type)


def _reencrypt_row(
    conn: sa.Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], row: sa.Row[Any]
) -> bool:
    cipher, keys = cipher_of(conn.dialect), list(table.primary_key)
    values = {
        column.name: _encrypted_type(column).decrypter(cipher)(raw)
        for column, raw in zip(columns, row[len(keys) :], strict=True)
        if raw is not None and not _encrypted_type(column).is_current(raw, cipher)
    }
    if values:
        this_row = (key == value for key, value in zip(keys, row, strict=False))
        conn.execute(table.update().where(*this_row).values(values))
    return bool(values)
