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

from db import batches, results
from db.entities import Answer, Batch, Job, JobState, Lane, Result, Status
from db.errors import LeaseLost
from db.failures import GAVE_UP
from db.messages import AnswerJob
from db.tables import jobs as j

# A job of several questions is split at its second failed attempt.
SPLIT_AT = 2

COLUMNS = (
    j.c.id,
    j.c.batch_id,
    j.c.lane,
    j.c.attempt,
    j.c.failures,
    j.c.first_position,
    j.c.last_position,
)
_FREE = {"owner": None, "lease_until": None}

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
        | _FREE
        | {s.value: j.c[s.value] + sa.bindparam(f"more_{s.value}") for s in Status}
    )
)


def renew(conn: sa.Connection, job: Job, *, lease: timedelta, now: datetime) -> None:
    """Hold the job for another lease.

    Raises:
        LeaseLost: it is not ours any more.
    """
    _move(conn, job, lease_until=now + lease)


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
    _move(conn, job, state=JobState.QUEUED, sent_at=None, **_FREE)


def fail(conn: sa.Connection, job: Job, *, error: str, attempts: int, now: datetime) -> JobState:
    """Note that an attempt died: queue the job again, split it, or give its question up.

    Args:
        conn: the transaction.
        job: as claimed, or as the sweep found it.
        error: what happened, without any question's text.
        attempts: failed attempts after which a single question is given up.
        now: the time.

    Returns:
        The state that the job moved to.

    Raises:
        LeaseLost: it is not ours any more.
    """
    failures = job.failures + 1
    if job.size > 1 and failures >= SPLIT_AT:
        return _split(conn, job, error, now)
    if job.size == 1 and failures >= attempts:
        return _give_up(conn, job, failures, error, now)
    state = JobState.QUEUED
    _move(conn, job, state=state, sent_at=None, failures=failures, error=error, **_FREE)
    return state


def _split(conn: sa.Connection, job: Job, error: str, now: datetime) -> JobState:
    # After a retry some questions have results: the halves count them, not the whole any more.
    none = {s.value: 0 for s in Status}
    _move(conn, job, state=JobState.SPLIT, error=error, finished_at=now, **_FREE, **none)
    middle = job.first_position + job.size // 2
    halves = ((job.first_position, middle - 1), (middle, job.last_position))
    conn.execute(
        j.insert(),
        [
            {
                "batch_id": job.batch_id,
                "lane": job.lane,
                "state": JobState.QUEUED,
                "first_position": first,
                "last_position": last,
                "failures": 1,  # one more death halves it again
                "created_at": now,
            }
            | results.counts(conn, job.batch_id, first, last)
            for first, last in halves
        ],
    )
    return JobState.SPLIT


def _give_up(conn: sa.Connection, job: Job, failures: int, error: str, now: datetime) -> JobState:
    _move(
        conn,
        job,
        state=JobState.DEAD,
        failures=failures,
        error=error,
        finished_at=now,
        **_FREE,
    )
    failed = Answer(Status.FAILED, error=GAVE_UP.format(failures=failures, error=error))
    ended = results.end_unanswered(
        conn, job.batch_id, job.first_position, job.last_position, answer=failed, now=now
    )
    # None, if it is half of a job of which only the other half was to run again.
    conn.execute(j.update().where(j.c.id == job.id).values(failed=j.c.failed + ended))
    return JobState.DEAD


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
            | _FREE
        )
    )


def _move(conn: sa.Connection, job: Job, **values: Any) -> None:  # noqa: ANN401 - columns' values
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
