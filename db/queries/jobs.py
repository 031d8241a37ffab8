"""Jobs: every query on them. None commits.

What a worker writes names the attempt that it claimed. When the job has moved on, the
WHERE matches no row, `LeaseLost` is raised and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch, Lane
from core.domain.job import Job, JobState
from core.domain.result import Answer, Result, Status
from core.errors import LeaseLost
from core.messages import AnswerJob
from db.queries import batches, results
from db.tables import jobs as j

COLUMNS = (
    j.c.id,
    j.c.batch_id,
    j.c.lane,
    j.c.attempt,
    j.c.failures,
    j.c.first_position,
    j.c.last_position,
)
FREED = {"owner": None, "lease_until": None}

# Built once: to build such a statement takes longer than to run it.
_FINISH = (
    j.update()
    .where(
        j.c.id == sa.bindparam("wanted"),
        j.c.attempt == sa.bindparam("claimed"),
        j.c.state == JobState.RUNNING,
    )
    .values(
        {"state": JobState.DONE, "finished_at": sa.bindparam("now"), "error": None}
        | FREED
        | {s.value: j.c[s.value] + sa.bindparam(f"more_{s.value}") for s in Status}
    )
)


def renew(conn: sa.Connection, job: Job, *, lease: timedelta, now: datetime) -> None:
    """Hold the job for another lease.

    Raises:
        LeaseLost: it is not ours any more.
    """
    transition(conn, job, lease_until=now + lease)


def finish(conn: sa.Connection, job: Job, answers: Sequence[Result], *, now: datetime) -> None:
    """Store the results of all of the job's unanswered questions and end it.

    Raises:
        LeaseLost: it is not ours any more; nothing was written.
    """
    if finish_all(conn, [(job, answers)], now=now):
        raise LeaseLost(job.id, job.attempt)


def finish_all(
    conn: sa.Connection, work: Sequence[tuple[Job, Sequence[Result]]], *, now: datetime
) -> list[Job]:
    """Store the results of several jobs and end them; return those that are not ours any more.

    Of these nothing was written.
    """
    lost, rows = [], []
    for job, answers in work:
        try:
            _end(conn, job, answers, now)
        except LeaseLost:
            lost.append(job)
        else:
            rows += [(job.batch_id, answer) for answer in answers]
    results.insert(conn, rows)
    return lost


def _end(conn: sa.Connection, job: Job, answers: Sequence[Result], now: datetime) -> None:
    counts = Counter(answer.answer.status for answer in answers)
    values = {"wanted": job.id, "claimed": job.attempt, "now": now}
    values |= {f"more_{s.value}": counts[s] for s in Status}
    if conn.execute(_FINISH, values).rowcount == 0:
        raise LeaseLost(job.id, job.attempt)


def give_back(conn: sa.Connection, job: Job) -> None:
    """Queue a job that its worker can't finish and that failed in nothing.

    Raises:
        LeaseLost: it is not ours any more.
    """
    transition(conn, job, state=JobState.QUEUED, sent_at=None, **FREED)


def expired_leases(conn: sa.Connection, now: datetime, limit: int) -> list[Job]:
    """Lock and return running jobs whose worker was not heard of for a lease."""
    query = (
        sa.select(*COLUMNS)
        .where(j.c.state == JobState.RUNNING, j.c.lease_until < now)
        .order_by(j.c.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [entity(row) for row in conn.execute(query)]


def to_send(
    conn: sa.Connection, lane: Lane, *, limit: int, lost_before: datetime | None, now: datetime
) -> list[AnswerJob]:
    """Mark and return queued jobs that need a message, oldest first.

    These were never sent; with `lost_before`, also those sent before that moment, whose
    messages are gone because the lane is empty.
    """
    unsent: sa.ColumnElement[bool] = j.c.sent_at.is_(None)
    if lost_before is not None:
        unsent = sa.or_(unsent, j.c.sent_at < lost_before)
    query = (
        sa.select(j)
        .where(j.c.lane == lane, j.c.state == JobState.QUEUED, unsent)
        .order_by(j.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    messages = [batches.message(row) for row in conn.execute(query)]
    if messages:
        ids = [m.job for m in messages]
        conn.execute(
            j.update().where(j.c.id.in_(ids), j.c.state == JobState.QUEUED).values(sent_at=now)
        )
    return messages


def close_queued(
    conn: sa.Connection, batch: Batch, status: Status, *, limit: int, now: datetime
) -> int:
    """End some queued jobs of a cancelled or expired batch; return how many jobs."""
    found = conn.execute(
        sa.select(*COLUMNS)
        .where(j.c.batch_id == batch.id, j.c.state == JobState.QUEUED)
        .order_by(j.c.id)
        .limit(limit)
        .with_for_update()
    ).all()
    for row in found:
        _close(conn, entity(row), status, now)
    return len(found)


def _close(conn: sa.Connection, job: Job, status: Status, now: datetime) -> None:
    ended = results.end_unanswered(
        conn, job.batch_id, job.first_position, job.last_position, answer=Answer(status), now=now
    )
    conn.execute(
        j.update()
        .where(j.c.id == job.id)
        .values(
            {"state": status.value, "finished_at": now, status.value: j.c[status.value] + ended}
            | FREED
        )
    )


def transition(conn: sa.Connection, job: Job, **values: Any) -> None:  # noqa: ANN401 - columns' values
    moved = conn.execute(
        j.update()
        .where(j.c.id == job.id, j.c.attempt == job.attempt, j.c.state == JobState.RUNNING)
        .values(**values)
    )
    if moved.rowcount == 0:
        raise LeaseLost(job.id, job.attempt)


def entity(row: Any) -> Job:  # noqa: ANN401 - a Row of COLUMNS and maybe more
    """Return the job of a row."""
    return Job(
        id=row.id,
        batch_id=row.batch_id,
        lane=Lane(row.lane),
        attempt=row.attempt,
        failures=row.failures,
        first_position=row.first_position,
        last_position=row.last_position,
    )
