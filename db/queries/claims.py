"""The UPDATE by which a worker claims queued jobs.

Not covered: the renewal, end and failure of a claimed job (`db.queries.jobs`,
`db.queries.job_failures`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import Job, JobState
from db.queries.batches import live
from db.queries.jobs import COLUMNS, entity
from db.tables import batches as b
from db.tables import jobs as j


# The statements are built once: building one takes longer than running it (docs/log.md).
def _claim_statement(chosen: sa.ColumnElement[bool]) -> sa.sql.dml.ReturningUpdate[Any]:
    deadline = sa.select(b.c.deadline).where(b.c.id == j.c.batch_id).scalar_subquery()
    return (
        j.update()
        .where(chosen)
        .values(
            state=JobState.RUNNING,
            owner=sa.bindparam("worker"),
            lease_until=sa.bindparam("until"),
            attempt=j.c.attempt + 1,
        )
        .returning(*COLUMNS, deadline.label("deadline"), j.c.created_at)
    )


def _is_live(jobs: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.exists().where(b.c.id == jobs.c.batch_id, live(sa.bindparam("now")))


def _next_queued() -> sa.Select[Any]:
    queued = j.alias("next")
    return (
        sa.select(queued.c.id)
        .where(
            queued.c.lane == sa.bindparam("of_lane"),
            queued.c.state == sa.literal_column(f"'{JobState.QUEUED}'"),
            queued.c.failures == 0,
            queued.c.last_position - queued.c.first_position < sa.bindparam("max_questions"),
            _is_live(queued),
        )
        .order_by(queued.c.id)
        .limit(sa.bindparam("max_jobs", type_=sa.Integer))
        .with_for_update(skip_locked=True, of=queued)
    )


_CLAIM = _claim_statement(
    sa.and_(j.c.id == sa.bindparam("job_id"), j.c.state == JobState.QUEUED, _is_live(j))
)
_CLAIM_NEXT = _claim_statement(j.c.id.in_(sa.select(_next_queued().cte("chosen").c.id)))


def claim_job(
    conn: sa.Connection, job_id: int, *, owner: str, lease: timedelta, now: datetime
) -> Job | None:
    """Return the claimed job, or None if it cannot be claimed.

    Only a queued job of a live batch can be claimed.
    """
    values = {"job_id": job_id, "worker": owner, "until": now + lease, "now": now}
    row = conn.execute(_CLAIM, values).one_or_none()
    return None if row is None else _claimed(row)


def claim_next(
    conn: sa.Connection,
    lane: Lane,
    *,
    max_questions: int,
    limit: int,
    owner: str,
    lease: timedelta,
    now: datetime,
) -> list[Job]:
    """Claim and return the lane's oldest queued jobs that never failed.

    A job that failed may crash its worker and so fail the worker's other jobs, too. It is
    therefore claimed only alone, with `claim_job`.

    Args:
        conn: the transaction.
        lane: the lane.
        max_questions: skip jobs with more questions.
        limit: the highest number of jobs.
        owner: the worker's name.
        lease: the time until the claim expires without renewal.
        now: the time.

    Returns:
        The claimed jobs, oldest first.
    """
    values = {"of_lane": lane, "max_questions": max_questions, "max_jobs": limit}
    values |= {"worker": owner, "until": now + lease, "now": now}
    claimed = map(_claimed, conn.execute(_CLAIM_NEXT, values))
    return sorted(claimed, key=lambda job: job.id)


def _claimed(row: Any) -> Job:  # noqa: ANN401 - a Row of COLUMNS, deadline and created_at
    return replace(entity(row), deadline=row.deadline, created_at=row.created_at)
