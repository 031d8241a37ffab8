"""Claim queued jobs and read their questions.

A small job is filled up with further small jobs of its lane, and all of them are read in one
transaction and answered together. Each job keeps its own lease and its own fence.
Not covered: how many questions a claim may have: `worker.jobs.claim_window`.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import Job
from db.queries import claims, results
from db.session import transaction
from worker.jobs.context import ClaimedJob, ClaimedJobs, JobContext
from worker.monitoring.metrics import Stage

# Jobs that are answered together. Higher: fewer transactions, but storing a claim takes one
# statement for each job.
_MAX_JOBS = 64

_ANY_SIZE = 1 << 62


def claim_job(context: JobContext, job_id: int) -> ClaimedJobs | None:
    """Return the claimed job, or None if it is no longer queued.

    A small job is filled up with further jobs of its lane.
    """
    with context.metrics.timing(Stage.CLAIM), transaction(context.engine) as conn:
        now = context.clock()
        job = claims.claim_job(conn, job_id, owner=context.owner, lease=context.lease, now=now)
        return None if job is None else _fill_claim(context, conn, job, now)


def claim_job_or_next(context: JobContext, job_id: int, lane: Lane | None) -> ClaimedJobs | None:
    """Claim a message's job or, if it is no longer queued, the next one.

    If messages of jobs that already ran did nothing, they would delay the messages after them.
    If the lane is None, no other job is claimed.
    """
    jobs = claim_job(context, job_id)
    return claim_next_jobs(context, lane) if jobs is None and lane is not None else jobs


def claim_next_jobs(context: JobContext, lane: Lane) -> ClaimedJobs | None:
    """Return the oldest queued job of a lane, claimed, or None.

    A small job is filled up with further jobs of its lane.
    """
    with context.metrics.timing(Stage.CLAIM), transaction(context.engine) as conn:
        now = context.clock()
        first = _claim_next(context, conn, lane, max_questions=_ANY_SIZE, limit=1, now=now)
        return _fill_claim(context, conn, first[0], now) if first else None


def _claim_next(
    context: JobContext,
    conn: sa.Connection,
    lane: Lane,
    *,
    max_questions: int,
    limit: int,
    now: datetime,
) -> list[Job]:
    return claims.claim_next(
        conn,
        lane,
        max_questions=max_questions,
        limit=limit,
        owner=context.owner,
        lease=context.lease,
        now=now,
    )


def _fill_claim(context: JobContext, conn: sa.Connection, first: Job, now: datetime) -> ClaimedJobs:
    jobs = [first]
    # This many jobs fit if none is larger than the first. Larger jobs are left for a later claim.
    more = min(context.claim_limit // first.size, _MAX_JOBS) - 1
    if more > 0 and first.failures == 0:
        jobs += _claim_next(
            context, conn, first.lane, max_questions=first.size, limit=more, now=now
        )
    questions_of_jobs = results.of_jobs(conn, jobs)
    for job in jobs:
        context.metrics.count_wait(job, now)
    return [
        ClaimedJob(job, questions) for job, questions in zip(jobs, questions_of_jobs, strict=True)
    ]
