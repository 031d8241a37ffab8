"""Queries on jobs: leases, results, messages and ends.

Each write by a worker names the attempt that the worker claimed. If the job has another
attempt or state, the WHERE clause matches no row: `LeaseLost` is raised, nothing is written.
Not covered: claims (`db.queries.claims`) and failures (`db.queries.job_failures`).
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

# Built once: building such a statement takes longer than running it (docs/log.md).
_FINISH = (
    j.update()
    .where(
        j.c.id == sa.bindparam("job_id"),
        j.c.attempt == sa.bindparam("claimed_attempt"),
        j.c.state == JobState.RUNNING,
    )
    .values(
        {"state": JobState.DONE, "finished_at": sa.bindparam("now"), "error": None}
        | FREED
        | {
            status.value: j.c[status.value] + sa.bindparam(f"more_{status.value}")
            for status in Status
        }
    )
)


def renew(conn: sa.Connection, job: Job, *, lease: timedelta, now: datetime) -> None:
    """Renew the lease of a job.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
    """
    transition(conn, job, lease_until=now + lease)


def finish(conn: sa.Connection, job: Job, answers: Sequence[Result], *, now: datetime) -> None:
    """Store the results of all of the job's unanswered questions, and end it.

    Raises:
        LeaseLost: another worker has the job, or it has ended; nothing is written.
    """
    if finish_all(conn, [(job, answers)], now=now):
        raise LeaseLost(job.id, job.attempt)


def finish_all(
    conn: sa.Connection, work: Sequence[tuple[Job, Sequence[Result]]], *, now: datetime
) -> list[Job]:
    """Store the results of several jobs, end them, and return the lost jobs.

    A job is lost if another worker has it or it has ended. Nothing is written about a lost job.
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
    values = {"job_id": job.id, "claimed_attempt": job.attempt, "now": now}
    values |= {f"more_{status.value}": counts[status] for status in Status}
    if conn.execute(_FINISH, values).rowcount == 0:
        raise LeaseLost(job.id, job.attempt)


def give_back(conn: sa.Connection, job: Job) -> None:
    """Queue a job again whose worker stops, without counting a failure.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
    """
    transition(conn, job, state=JobState.QUEUED, sent_at=None, **FREED)


def expired_leases(conn: sa.Connection, now: datetime, limit: int) -> list[Job]:
    """Lock and return running jobs whose lease has expired."""
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
    """Mark queued jobs without a message as sent, and return their messages.

    Args:
        conn: the transaction.
        lane: the lane.
        limit: the highest number of jobs.
        lost_before: None: only jobs that were never sent. A time: also jobs sent before it. The
            lane is empty then, so their messages are lost.
        now: the time.

    Returns:
        The messages, oldest job first.
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
        ids = [message.job for message in messages]
        conn.execute(
            j.update().where(j.c.id.in_(ids), j.c.state == JobState.QUEUED).values(sent_at=now)
        )
    return messages


def close_queued(
    conn: sa.Connection, batch: Batch, status: Status, *, limit: int, now: datetime
) -> int:
    """End queued jobs of a cancelled or expired batch, and return how many."""
    rows = conn.execute(
        sa.select(*COLUMNS)
        .where(j.c.batch_id == batch.id, j.c.state == JobState.QUEUED)
        .order_by(j.c.id)
        .limit(limit)
        .with_for_update()
    ).all()
    for row in rows:
        _close(conn, entity(row), status, now)
    return len(rows)


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
    """Change columns of a running job, if its attempt is the claimed one.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
    """
    updated = conn.execute(
        j.update()
        .where(j.c.id == job.id, j.c.attempt == job.attempt, j.c.state == JobState.RUNNING)
        .values(**values)
    )
    if updated.rowcount == 0:
        raise LeaseLost(job.id, job.attempt)


def entity(row: Any) -> Job:  # noqa: ANN401 - a Row with COLUMNS
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
