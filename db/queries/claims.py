"""Claims: the one UPDATE by which a worker takes queued jobs. None commits.

What becomes of a claimed job is in `db.queries.jobs`.
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


# Built once: to build such a statement takes longer than to run it (docs/log.md).
def _taking(chosen: sa.ColumnElement[bool]) -> sa.sql.dml.ReturningUpdate[Any]:
    due = sa.select(b.c.deadline).where(b.c.id == j.c.batch_id).scalar_subquery()
    return (
        j.update()
        .where(chosen)
        .values(
            state=JobState.RUNNING,
            owner=sa.bindparam("worker"),
            lease_until=sa.bindparam("until"),
            attempt=j.c.attempt + 1,
        )
        .returning(*COLUMNS, due.label("deadline"), j.c.created_at)
    )


def _live(jobs: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.exists().where(b.c.id == jobs.c.batch_id, live(sa.bindparam("now")))


def _next_queued() -> sa.Select[Any]:
    queued = j.alias("next")
    return (
        sa.select(queued.c.id)
        .where(
            queued.c.lane == sa.bindparam("of_lane"),
            queued.c.state == sa.literal_column(f"'{JobState.QUEUED}'"),
            queued.c.failures == 0,
            queued.c.last_position - queued.c.first_position < sa.bindparam("room"),
            _live(queued),
        )
        .order_by(queued.c.id)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(skip_locked=True, of=queued)
    )


_CLAIM = _taking(sa.and_(j.c.id == sa.bindparam("wanted"), j.c.state == JobState.QUEUED, _live(j)))
_CLAIM_NEXT = _taking(j.c.id.in_(sa.select(_next_queued().cte("chosen").c.id)))


def claim_job(
    conn: sa.Connection, job_id: int, *, owner: str, lease: timedelta, now: datetime
) -> Job | None:
    """Take a queued job of a live batch; None when there is nothing to take."""
    values = {"wanted": job_id, "worker": owner, "until": now + lease, "now": now}
    row = conn.execute(_CLAIM, values).one_or_none()
    return None if row is None else _claimed(row)


def claim_next(
    conn: sa.Connection,
    lane: Lane,
    *,
    room: int,
    limit: int,
    owner: str,
    lease: timedelta,
    now: datetime,
) -> list[Job]:
    """Take the lane's oldest queued jobs that never failed, `limit` at most, oldest first.

    One that failed may take its worker along when it fails again, and with that worker's other
    jobs: it is claimed by itself alone.

    Args:
        conn: the transaction.
        lane: whose.
        room: a job with more questions is passed over.
        limit: how many jobs.
        owner: the worker.
        lease: for how long.
        now: the time.
    """
    values = {"of_lane": lane, "room": room, "most": limit}
    values |= {"worker": owner, "until": now + lease, "now": now}
    taken = map(_claimed, conn.execute(_CLAIM_NEXT, values))
    return sorted(taken, key=lambda job: job.id)


def _claimed(row: Any) -> Job:  # noqa: ANN401 - a Row of COLUMNS, the deadline and when it was made
    return replace(entity(row), deadline=row.deadline, created_at=row.created_at)
