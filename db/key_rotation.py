"""Sealing anew what is stored, with the key that seals now, in small steps.

Every step is a transaction of its own, over so many rows in the order of their primary key.
What is sealed as it should be is passed over, so that a rotation that was interrupted goes on
when it is called again. Results keep their cursors: no poller sees a row again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import sqlalchemy as sa

from db.encrypted_columns import Encrypted, EncryptedBytes, cipher_of
from db.session import reading, transaction
from db.tables import metadata

_LARGE_STEP = 4  # rows that hold up to a megabyte each

Progress = Callable[[str, int, int], None]


def reencrypt_all(engine: sa.Engine, *, step: int = 500, on_progress: Progress) -> int:
    """Seal everything with the cipher that the engine has; return how many rows it was.

    `on_progress` is told a table's name, how many of its rows were looked at, and of how many.

    Raises:
        KeyMissing: something is sealed with a key that is not here; what was done stays done.
    """
    return sum(
        _rotate_table(engine, table, columns, step, on_progress)
        for table, columns in encrypted_tables()
    )


def encrypted_tables() -> list[tuple[sa.Table, list[sa.Column[Any]]]]:
    """Return the tables with sealed columns, and these."""
    found = ((t, [c for c in t.c if isinstance(c.type, Encrypted)]) for t in metadata.sorted_tables)
    return [(table, columns) for table, columns in found if columns]


def _rotate_table(
    engine: sa.Engine,
    table: sa.Table,
    columns: Sequence[sa.Column[Any]],
    step: int,
    on_progress: Progress,
) -> int:
    with reading(engine) as conn:
        total = int(conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
    if any(isinstance(column.type, EncryptedBytes) for column in columns):
        step = min(step, _LARGE_STEP)
    keys = len(table.primary_key)
    query = _query(table, columns).limit(step)
    last: Sequence[Any] | None = None
    seen = changed = 0
    while True:
        behind = sa.true() if last is None else _behind(table, last)
        with transaction(engine) as conn:
            rows = list(conn.execute(query.where(behind)))
            changed += sum(_encrypt_row(conn, table, columns, row) for row in rows)
        seen += len(rows)
        if rows:
            on_progress(table.name, seen, max(total, seen))
            last = rows[-1][:keys]
        if len(rows) < step:
            return changed


def _query(table: sa.Table, columns: Sequence[sa.Column[Any]]) -> sa.Select[Any]:
    raw = (
        sa.type_coerce(c, _encrypted_columns(c).impl_instance).label(f"raw_{c.name}")
        for c in columns
    )
    keys = table.primary_key
    return sa.select(*keys, *raw).order_by(*keys).with_for_update()


def _behind(table: sa.Table, last: Sequence[Any]) -> sa.ColumnElement[bool]:
    return sa.tuple_(*table.primary_key) > sa.tuple_(*map(sa.literal, last))


def _encrypted_columns(column: sa.Column[Any]) -> Encrypted:
    return cast("Encrypted", column.type)


def _encrypt_row(
    conn: sa.Connection, table: sa.Table, columns: Sequence[sa.Column[Any]], row: sa.Row[Any]
) -> bool:
    cipher, keys = cipher_of(conn.dialect), list(table.primary_key)
    values = {
        column.name: _encrypted_columns(column).decrypter(cipher)(raw)
        for column, raw in zip(columns, row[len(keys) :], strict=True)
        if raw is not None and not _encrypted_columns(column).current(raw, cipher)
    }
    if values:
        here = (key == value for key, value in zip(keys, row, strict=False))
        conn.execute(table.update().where(*here).values(values))
    return bool(values)
