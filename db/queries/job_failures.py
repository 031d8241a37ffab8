"""Queries that store a failed attempt of a job.

The job is queued again, split or given up. A job of several questions is split until the
failing question is alone in its job. That question is given up after a number of attempts.
Not covered: retries by a user (`db.queries.retries`).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.job import Job, JobState
from core.domain.result import Answer, Status
from db.queries import results
from db.queries.jobs import FREED, transition
from db.queries.retries import GAVE_UP
from db.tables import jobs as j

# Failed attempts after which a job of several questions is split; higher: a bad question costs
# its neighbors more attempts, and a passing fault splits fewer jobs.
SPLIT_AT = 2


def fail(conn: sa.Connection, job: Job, *, error: str, attempts: int, now: datetime) -> JobState:
    """Store a failed attempt: queue the job again, split or give it up.

    Args:
        conn: the transaction.
        job: the job as claimed, or as the sweep read it.
        error: the error's class and message, without any question's text.
        attempts: failed attempts after which a single question is given up.
        now: the time.

    Returns:
        The new state of the job.

    Raises:
        LeaseLost: another worker has the job, or it has ended.
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
    # After a retry, some questions have results. The halves count them, so the whole no longer may.
    no_results = {status.value: 0 for status in Status}
    transition(conn, job, state=JobState.SPLIT, error=error, finished_at=now, **FREED, **no_results)
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
                "failures": 1,  # one more failure splits it again
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
    given_up = results.end_unanswered(
        conn, job.batch_id, job.first_position, job.last_position, answer=failed, now=now
    )
    # 0 if the question has a result: a retry may queue a job of which only a part has none.
    conn.execute(j.update().where(j.c.id == job.id).values(failed=j.c.failed + given_up))
    return JobState.DEAD
