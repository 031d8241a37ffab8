"""CAPTION db.queries.job_failures."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.job import Job, JobState
from core.domain.result import Answer, Status
from db.queries import results
from db.queries.jobs import FREED, transition
from db.queries.retries import GAVE_UP
from db.tables import jobs as j

# A job of several questions is split at its second failed attempt.
SPLIT_AT = 2


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
    transition(conn, job, state=state, sent_at=None, failures=failures, error=error, **FREED)
    return state


def _split(conn: sa.Connection, job: Job, error: str, now: datetime) -> JobState:
    # After a retry some questions have results: the halves count them, not the whole any more.
    none = {s.value: 0 for s in Status}
    transition(conn, job, state=JobState.SPLIT, error=error, finished_at=now, **FREED, **none)
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
    transition(
        conn,
        job,
        state=JobState.DEAD,
        failures=failures,
        error=error,
        finished_at=now,
        **FREED,
    )
    failed = Answer(Status.FAILED, error=GAVE_UP.format(failures=failures, error=error))
    ended = results.end_unanswered(
        conn, job.batch_id, job.first_position, job.last_position, answer=failed, now=now
    )
    # None, if it is half of a job of which only the other half was to run again.
    conn.execute(j.update().where(j.c.id == job.id).values(failed=j.c.failed + ended))
    return JobState.DEAD
