"""Queries on results, and on questions that have none.

Ranges of results are always read in the order of their positions: see `_UNANSWERED`.
Not covered: the order of cursors (`db.dialect`), and retries (`db.queries.retries`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    """Insert results of questions that have none, each with its batch's id."""
    if not results:
        return
    cursor = dialect.first_cursor(conn, sorted({batch_id for batch_id, _ in results}))
    dialect.insert_many(
        conn,
        r,
        _COLUMNS,
        [_row(batch_id, cursor + i, result) for i, (batch_id, result) in enumerate(results)],
    )


def _row(batch_id: int, cursor: int, result: Result) -> tuple[Any, ...]:
    answer = result.answer
    return (
        batch_id,
        result.position,
        result.key,
        answer.status.value,
        answer.answer,
        answer.entry_id,
        answer.matched,
        answer.confidence,
        answer.reason,
        answer.error,
        result.model_version,
        result.answered_at,
        cursor,
        answer.url,
        None if answer.runners_up is None else [asdict(entry) for entry in answer.runners_up],
    )


def end_unanswered(
    conn: sa.Connection, batch_id: int, first: int, last: int, *, answer: Answer, now: datetime
) -> int:
    """Insert a result for each question without one, and return how many."""
    missing = [
        (batch_id, Result(position, key, answer, None, now))
        for position, key, _ in unanswered(conn, batch_id, first, last)
    ]
    insert(conn, missing)
    return len(missing)


def counts(conn: sa.Connection, batch_id: int, first: int, last: int) -> dict[str, int]:
    """Count the range's results by status."""
    query = sa.select(r.c.status).where(_in_range(r)).order_by(r.c.position)
    statuses = conn.scalars(query, {"batch": batch_id, "first": first, "last": last})
    return dict.fromkeys((status.value for status in Status), 0) | Counter(statuses)


def of_jobs(conn: sa.Connection, jobs: Sequence[Job]) -> list[list[tuple[int, str, str]]]:
    """Return position, key and text of each job's questions without a result."""
    questions: list[list[tuple[int, str, str]]] = []
    for run in _adjacent(jobs):
        query = _QUESTIONS if run[0].is_first_attempt else _UNANSWERED
        rows = _read(conn, query, run[0].batch_id, run[0].first_position, run[-1].last_position)
        starts = [bisect_left(rows, (job.first_position,)) for job in run]
        questions += [rows[i:k] for i, k in pairwise([*starts, len(rows)])]
    return questions


def _adjacent(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group jobs whose questions are consecutive and all without a result."""
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
    """Return position, key and text of the range's questions without a result."""
    return _read(conn, _UNANSWERED, batch_id, first, last)


def _in_range(table: sa.Table) -> sa.ColumnElement[bool]:
    within = table.c.position.between(sa.bindparam("first"), sa.bindparam("last"))
    return sa.and_(table.c.batch_id == sa.bindparam("batch"), within)


# Built once: building a statement takes longer than running it.
_QUESTIONS = sa.select(q.c.position, q.c.key, q.c.text).where(_in_range(q)).order_by(q.c.position)
# NOT IN with a range of its own: NOT EXISTS took PostgreSQL 30 times as long while a batch was
# being cancelled. ORDER BY, as in every read of a range of results: for a batch newer than its
# statistics, PostgreSQL expects no results. Without the order it may choose the index on `cursor`
# and read all results of the batch (docs/log.md).
_UNANSWERED = _QUESTIONS.where(
    q.c.position.not_in(sa.select(r.c.position).where(_in_range(r)).order_by(r.c.position))
)


def _read(
    conn: sa.Connection, query: sa.Select[Any], batch_id: int, first: int, last: int
) -> list[tuple[int, str, str]]:
    rows = conn.execute(query, {"batch": batch_id, "first": first, "last": last})
    return [tuple(row) for row in rows]


def check_key(conn: sa.Connection) -> None:
    """Check that the newest batch's first text, if any, can be decrypted.

    Raises:
        KeyMissing: the text is encrypted with a key that is not configured.
    """
    conn.scalar(sa.select(q.c.text).order_by(q.c.batch_id.desc(), q.c.position).limit(1))


def texts(
    conn: sa.Connection, batch_id: int, *, after: int = 0, limit: int
) -> list[tuple[int, str, str]]:
    """Return position, key and text of the next questions after a position.

    Questions with and without a result are returned.
    """
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
    """Return the next visible results after a cursor, in the cursor's order.

    Args:
        conn: a transaction.
        batch_id: the batch.
        after: the cursor of the last result that was read; 0: none.
        limit: the highest number of results.
        status: only results of this status.
        confidence: the lowest and the highest confidence; None: no limit.

    Returns:
        Results with the text of their `question` and the agent's answer (`desk_...`), if any.
    """
    # No join: PostgreSQL plans it by the estimated number of the batch's questions, which is 0
    # for a new batch, and then reads all of its questions for each result (docs/log.md).
    text = sa.select(q.c.text).where(
        q.c.batch_id == visible.c.batch_id, q.c.position == visible.c.position
    )
    # Most batches have no agents' answers, and a lookup for each row costs 25% more time.
    has_answers = conn.scalar(sa.select(sa.exists().where(d.c.batch_id == batch_id)))
    desk = _DESK if has_answers else _NO_DESK
    query = (
        sa.select(visible, text.scalar_subquery().label("question"), *desk)
        .where(
            visible.c.batch_id == batch_id,
            visible.c.cursor > after,
            *_filters(status, *confidence),
        )
        .order_by(visible.c.cursor)
        .limit(limit)
    )
    return list(conn.execute(query))


def _filters(
    status: Status | None, lowest: float | None, highest: float | None
) -> Iterator[sa.ColumnElement[bool]]:
    if status is not None:
        yield visible.c.status == status
    if lowest is not None:
        yield visible.c.confidence >= lowest
    if highest is not None:
        yield visible.c.confidence <= highest


def _desk_column(name: str) -> sa.Label[Any]:
    # No join, for the same reason as in `page`.
    same = sa.and_(d.c.batch_id == visible.c.batch_id, d.c.position == visible.c.position)
    return sa.select(d.c[name]).where(same).scalar_subquery().label(f"desk_{name}")


_DESK_COLUMNS = ("answer", "entry_id", "by", "at")
_DESK = [_desk_column(name) for name in _DESK_COLUMNS]
_NO_DESK = [sa.null().label(f"desk_{name}") for name in _DESK_COLUMNS]


def all_visible(conn: sa.Connection, batch_id: int) -> bool:
    """Return whether the view shows every committed result of a batch.

    On PostgreSQL, other transactions delay results: see `db.dialect`.
    """
    last, last_visible = (
        sa.select(sa.func.max(table.c.cursor)).where(table.c.batch_id == batch_id).scalar_subquery()
        for table in (r, visible)
    )
    return bool(conn.scalar(sa.select(last.is_not_distinct_from(last_visible))))


def of_question(conn: sa.Connection, batch_id: int, position: int) -> sa.Row[Any] | None:
    """Return a question's committed result, or None, visible or not."""
    query = sa.select(r).where(r.c.batch_id == batch_id, r.c.position == position)
    return conn.execute(query).first()


def answered_asks(conn: sa.Connection, batch_ids: Iterable[int]) -> list[int]:
    """Return the ids of the batches whose first question has its result."""
    query = sa.select(r.c.batch_id).where(r.c.batch_id.in_(batch_ids), r.c.position == 1)
    return list(conn.scalars(query))
