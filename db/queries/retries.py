"""Queries that count failed questions, and that queue jobs again.

The class of an error is the text before its first colon, as in `RuntimeError: …`. The class of
a question that was given up is the class of its last attempt's error.
Not covered: the automatic attempts of a job (`db.queries.job_failures`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch
from core.domain.job import JobState
from core.domain.result import Status
from db.queries import batches, results
from db.tables import jobs as j
from db.tables import result_rows as r

# The error of a question that was given up, as `db.queries.job_failures` stores it.
GAVE_UP = "gave up after {failures} failed attempts: {error}"
_PREFIX = re.compile(GAVE_UP.format(failures=r"\d+", error=""))

_ENDED = (JobState.DONE, JobState.DEAD)
_ROWS = 1_000  # fetched at a time; higher: fewer round trips, more memory


def error_class(error: str | None) -> str:
    """Return the class of a stored error."""
    return _PREFIX.sub("", error or "unknown", count=1).partition(":")[0]


def classes(conn: sa.Connection, batch_id: int) -> dict[str, int]:
    """Count a batch's failed questions by error class, most frequent first."""
    query = (
        _ended(sa.select(r.c.error, sa.func.count()), batch_id, [Status.FAILED])
        .group_by(r.c.error)
        .execution_options(yield_per=_ROWS)
    )
    counts: Counter[str] = Counter()
    for error, questions in conn.execute(query):
        counts[error_class(error)] += questions
    return dict(counts.most_common())


def count(
    conn: sa.Connection, batch_id: int, statuses: Sequence[Status], only: str | None = None
) -> int:
    """Count the questions that repeated calls of `retry` would queue again."""
    query = _ended(sa.select(sa.func.count()), batch_id, statuses).where(_of_class(only))
    return int(conn.scalar(query) or 0)


def _ended(query: sa.Select[Any], batch_id: int, statuses: Sequence[Status]) -> sa.Select[Any]:
    """Return the query, limited to ended jobs with results of these statuses."""
    return (
        query.select_from(j)
        .join(r, (r.c.batch_id == j.c.batch_id) & _within())
        .where(
            j.c.batch_id == batch_id,
            j.c.state.in_(_ENDED),
            _has_results(statuses),
            r.c.status.in_(statuses),
        )
    )


def _has_results(statuses: Sequence[Status]) -> sa.ColumnElement[bool]:
    return sum((j.c[status.value] for status in statuses), start=sa.literal(0)) > 0


def retry(
    conn: sa.Connection,
    batch: Batch,
    statuses: Sequence[Status],
    *,
    limit: int,
    now: datetime,
    since: datetime | None = None,
    only: str | None = None,
) -> int:
    """Delete results of ended jobs and queue the jobs again.

    Args:
        conn: the transaction.
        batch: the batch.
        statuses: delete results of these statuses.
        limit: the highest number of jobs.
        now: the time.
        since: skip jobs created at or after this time. A caller that repeats the call until it
            returns 0 passes the time of its first call. It then ends even if jobs fail again.
        only: delete only results with this error class.

    Returns:
        The number of questions that are queued again.

    Raises:
        BatchClosed: the batch was cancelled or has expired.
    """
    batches.lock_open_or_done(conn, batch.id, "run again")
    selected = sa.and_(r.c.batch_id == batch.id, r.c.status.in_(statuses), _of_class(only))
    query = _jobs_with(
        selected,
        j.c.batch_id == batch.id,
        j.c.state.in_(_ENDED),
        sa.true() if since is None else j.c.created_at < since,
        _has_results(statuses),
    )
    jobs = conn.execute(query.limit(limit)).all()
    for job in jobs:
        first, last = job.first_position, job.last_position
        conn.execute(r.delete().where(selected, r.c.position.between(first, last)))
        _queue(conn, job.id, now, results.counts(conn, batch.id, first, last))
    if jobs:
        batches.reopen(conn, batch.id)
    return int(sum(job.questions for job in jobs))


def _jobs_with(
    selected: sa.ColumnElement[bool], *conditions: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    """Return a query that locks jobs with selected results, and counts these."""
    count = sa.select(sa.func.count()).where(selected, _within()).scalar_subquery()
    return (
        sa.select(j.c.id, j.c.first_position, j.c.last_position, count.label("questions"))
        .where(*conditions, count > 0)
        .order_by(j.c.id)
        .with_for_update(of=j)
    )


def _queue(conn: sa.Connection, job_id: int, now: datetime, counts: dict[str, int]) -> None:
    reset = {"state": JobState.QUEUED, "failures": 0, "error": None, "sent_at": None}
    values = reset | {"finished_at": None, "created_at": now} | counts
    conn.execute(j.update().where(j.c.id == job_id).values(values))


def _within() -> sa.ColumnElement[bool]:
    return r.c.position.between(j.c.first_position, j.c.last_position)


def _of_class(name: str | None) -> sa.ColumnElement[bool]:
    if name is None:
        return sa.true()
    # LIKE has no pattern for digits or for the end of a word, hence `%` and two patterns each.
    # A scan of the failed questions is acceptable, because few questions fail.
    given_up = GAVE_UP.format(failures="%", error="")
    escaped = name.replace("/", "//").replace("%", "/%").replace("_", "/_")
    patterns = [f"{start}{escaped}{end}" for start in ("", given_up) for end in ("", ":%")]
    return sa.or_(*(r.c.error.like(pattern, escape="/") for pattern in patterns))
