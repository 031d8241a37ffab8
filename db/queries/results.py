"""Results: every query on them. None commits."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from core.domain.job import Job
from core.domain.result import Answer, Result, Status
from db import dialect
from db.tables import desk_answers as d
from db.tables import questions as q
from db.tables import result_rows as r
from db.tables import results as visible

_COLUMNS = tuple(column.name for column in r.columns)


def insert(conn: sa.Connection, results: Sequence[tuple[int, Result]]) -> None:
    """Add the final rows of questions that have none: each with its batch."""
    if not results:
        return
    cursor = dialect.first_cursor(conn, sorted({batch_id for batch_id, _ in results}))
    dialect.insert_many(
        conn,
        r,
        _COLUMNS,
        [_row(batch_id, cursor + n, result) for n, (batch_id, result) in enumerate(results)],
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
        (batch_id, Result(position, key, answer, None, now))
        for position, key, _ in unanswered(conn, batch_id, first, last)
    ]
    insert(conn, ends)
    return len(ends)


def counts(conn: sa.Connection, batch_id: int, first: int, last: int) -> dict[str, int]:
    """Count the range's results by status."""
    query = sa.select(r.c.status).where(_in_range(r)).order_by(r.c.position)
    found = conn.scalars(query, {"batch": batch_id, "first": first, "last": last})
    return dict.fromkeys((s.value for s in Status), 0) | Counter(found)


def of_jobs(conn: sa.Connection, jobs: Sequence[Job]) -> list[list[tuple[int, str, str]]]:
    """Return position, key and text of the questions of each job that have no result."""
    found: list[list[tuple[int, str, str]]] = []
    for run in _adjacent(jobs):
        query = _ASKED if run[0].is_first_attempt else _UNANSWERED
        rows = _read(conn, query, run[0].batch_id, run[0].first_position, run[-1].last_position)
        starts = [bisect_left(rows, (job.first_position,)) for job in run]
        found += [rows[i:k] for i, k in pairwise([*starts, len(rows)])]
    return found


def _adjacent(jobs: Sequence[Job]) -> list[list[Job]]:
    """Put jobs whose questions lie behind each other, all of them without results, together."""
    runs: list[list[Job]] = []
    for job in jobs:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and (last.batch_id, last.last_position + 1) == (job.batch_id, job.first_position)
            and last.is_first_attempt
            and job.is_first_attempt
        ):
            runs[-1].append(job)
        else:
            runs.append([job])
    return runs


def unanswered(
    conn: sa.Connection, batch_id: int, first: int, last: int
) -> list[tuple[int, str, str]]:
    """Return position, key and text of the range's questions that have no result."""
    return _read(conn, _UNANSWERED, batch_id, first, last)


def _in_range(table: sa.Table) -> sa.ColumnElement[bool]:
    within = table.c.position.between(sa.bindparam("first"), sa.bindparam("last"))
    return sa.and_(table.c.batch_id == sa.bindparam("batch"), within)


# Built once: to build a statement takes longer than to run it.
_ASKED = sa.select(q.c.position, q.c.key, q.c.text).where(_in_range(q)).order_by(q.c.position)
# Bound by itself, not by a join: while a batch was being cancelled, PostgreSQL took thirty
# times as long for a NOT EXISTS. And in order, as wherever a range of results is read: of a batch
# newer than its statistics PostgreSQL expects no results, finds the index by cursor as good as that
# by position, and goes through all of the batch's (docs/log.md).
_UNANSWERED = _ASKED.where(
    q.c.position.not_in(sa.select(r.c.position).where(_in_range(r)).order_by(r.c.position))
)


def _read(
    conn: sa.Connection, query: sa.Select[Any], batch_id: int, first: int, last: int
) -> list[tuple[int, str, str]]:
    rows = conn.execute(query, {"batch": batch_id, "first": first, "last": last})
    return [tuple(row) for row in rows]


def check_key(conn: sa.Connection) -> None:
    """Read the text that was stored last, if any is, for nothing but its key.

    Raises:
        KeyMissing: it is encrypted with a key that is not here.
    """
    conn.scalar(sa.select(q.c.text).order_by(q.c.batch_id.desc(), q.c.position).limit(1))


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
    confidence: tuple[float | None, float | None] = (None, None),
) -> list[sa.Row[Any]]:
    """Return the next visible results behind a cursor, in its order, with the questions.

    Each has what a person answered at the desk, too. With `confidence`, only those of at
    least the first and at most the second value, where there is one.
    """
    # A join would be planned by how many rows the batch is thought to have, which is none while
    # it is new: PostgreSQL then read all of its questions for each result (docs/log.md).
    asked = sa.select(q.c.text).where(
        q.c.batch_id == visible.c.batch_id, q.c.position == visible.c.position
    )
    # Of most batches nobody has answered anything, and to look for each row costs a quarter more.
    answered = conn.scalar(sa.select(sa.exists().where(d.c.batch_id == batch_id)))
    desk = _DESK if answered else _NO_DESK
    query = (
        sa.select(visible, asked.scalar_subquery().label("question"), *desk)
        .where(visible.c.batch_id == batch_id, visible.c.cursor > after)
        .order_by(visible.c.cursor)
        .limit(limit)
    )
    if status is not None:
        query = query.where(visible.c.status == status)
    least, most = confidence
    if least is not None:
        query = query.where(visible.c.confidence >= least)
    if most is not None:
        query = query.where(visible.c.confidence <= most)
    return list(conn.execute(query))


def _of_desk(name: str) -> sa.Label[Any]:
    # No join, for the same reason.
    there = sa.and_(d.c.batch_id == visible.c.batch_id, d.c.position == visible.c.position)
    return sa.select(d.c[name]).where(there).scalar_subquery().label(f"desk_{name}")


_DESK_COLUMNS = ("answer", "entry_id", "by", "at")
_DESK = [_of_desk(name) for name in _DESK_COLUMNS]
_NO_DESK = [sa.null().label(f"desk_{name}") for name in _DESK_COLUMNS]


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


def answered_asks(conn: sa.Connection, batch_ids: Iterable[int]) -> list[int]:
    """Return those of the batches whose first question has its result."""
    query = sa.select(r.c.batch_id).where(r.c.batch_id.in_(batch_ids), r.c.position == 1)
    return list(conn.scalars(query))
