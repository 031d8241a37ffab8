"""Results: every query on them. None commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from db import dialect
from db.entities import Answer, Result, Status
from db.tables import questions as q
from db.tables import result_rows as r
from db.tables import results as visible

_COLUMNS = tuple(column.name for column in r.columns)


def insert(conn: sa.Connection, batch_id: int, results: Sequence[Result]) -> None:
    """Add the final rows of questions that have none."""
    if not results:
        return
    cursor = dialect.first_cursor(conn, batch_id)
    dialect.insert_many(
        conn,
        r,
        _COLUMNS,
        [_row(batch_id, cursor + n, result) for n, result in enumerate(results)],
    )


def _row(batch_id: int, cursor: int, result: Result) -> tuple[Any, ...]:
    a = result.answer
    return (
        batch_id,
        result.position,
        result.key,
        a.status.value,
        a.answer,
        a.entry_id,
        a.matched,
        a.confidence,
        a.reason,
        a.error,
        result.model_version,
        result.answered_at,
        cursor,
        a.url,
        None if a.runners_up is None else [asdict(other) for other in a.runners_up],
    )


def end_unanswered(
    conn: sa.Connection, batch_id: int, first: int, last: int, *, answer: Answer, now: datetime
) -> int:
    """Give every question of the range that has no result this one; return how many."""
    ends = [
        Result(position, key, answer, None, now)
        for position, key, _ in unanswered(conn, batch_id, first, last)
    ]
    insert(conn, batch_id, ends)
    return len(ends)


def counts(conn: sa.Connection, batch_id: int, first: int, last: int) -> dict[str, int]:
    """Count the range's results by status."""
    query = (
        sa.select(r.c.status, sa.func.count())
        .where(r.c.batch_id == batch_id, r.c.position.between(first, last))
        .group_by(r.c.status)
    )
    return dict.fromkeys((s.value for s in Status), 0) | {
        row[0]: row[1] for row in conn.execute(query)
    }


def unanswered(
    conn: sa.Connection, batch_id: int, first: int, last: int
) -> list[tuple[int, str, str]]:
    """Return position, key and text of the range's questions that have no result."""
    final = sa.exists().where(r.c.batch_id == q.c.batch_id, r.c.position == q.c.position)
    query = (
        sa.select(q.c.position, q.c.key, q.c.text)
        .where(q.c.batch_id == batch_id, q.c.position.between(first, last), ~final)
        .order_by(q.c.position)
    )
    return [(row.position, row.key, row.text) for row in conn.execute(query)]


def texts(
    conn: sa.Connection, batch_id: int, *, after: int = 0, limit: int
) -> list[tuple[int, str, str]]:
    """Return position, key and text of the next questions behind a position, final or not."""
    query = (
        sa.select(q.c.position, q.c.key, q.c.text)
        .where(q.c.batch_id == batch_id, q.c.position > after)
        .order_by(q.c.position)
        .limit(limit)
    )
    return [(row.position, row.key, row.text) for row in conn.execute(query)]


def page(
    conn: sa.Connection,
    batch_id: int,
    *,
    after: int = 0,
    limit: int = 1_000,
    status: Status | None = None,
) -> list[sa.Row[Any]]:
    """Return the next visible results behind a cursor, in its order, with the questions."""
    query = (
        sa.select(visible, q.c.text.label("question"))
        .join(q, (q.c.batch_id == visible.c.batch_id) & (q.c.position == visible.c.position))
        .where(visible.c.batch_id == batch_id, visible.c.cursor > after)
        .order_by(visible.c.cursor)
        .limit(limit)
    )
    if status is not None:
        query = query.where(visible.c.status == status)
    return list(conn.execute(query))


def all_visible(conn: sa.Connection, batch_id: int) -> bool:
    """Tell whether every committed result of a batch shows in the view, too (see `db.dialect`)."""
    last, shown = (
        sa.select(sa.func.max(table.c.cursor)).where(table.c.batch_id == batch_id).scalar_subquery()
        for table in (r, visible)
    )
    return bool(conn.scalar(sa.select(last.is_not_distinct_from(shown))))


def one(conn: sa.Connection, batch_id: int, position: int) -> sa.Row[Any] | None:
    """Return a question's result as soon as it is committed."""
    query = sa.select(r).where(r.c.batch_id == batch_id, r.c.position == position)
    return conn.execute(query).first()
