"""CAPTION worker.jobs.claim."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import Job
from db.queries import claims, results
from db.session import transaction
from worker.jobs.context import ClaimedJob, ClaimedJobs, JobContext
from worker.monitoring.metrics import Stage

# Jobs that are answered together at most: each is one statement when they are stored.
_MOST_JOBS = 64


_ANY_SIZE = 1 << 62


def claim_job(desk: JobContext, job_id: int) -> ClaimedJobs | None:
    """Claim a queued job, topped up if it is small; None when it is not queued any more."""
    with desk.metrics.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        job = claims.claim_job(conn, job_id, owner=desk.owner, lease=desk.lease, now=now)
        return None if job is None else _fill_claim(desk, conn, job, now)


def claim_next_jobs(desk: JobContext, lane: Lane) -> ClaimedJobs | None:
    """Claim the lane's oldest job, topped up if it is small; None when none is queued."""
    with desk.metrics.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        first = _claim_next(desk, conn, lane, room=_ANY_SIZE, limit=1, now=now)
        return _fill_claim(desk, conn, first[0], now) if first else None


def _claim_next(
    desk: JobContext, conn: sa.Connection, lane: Lane, *, room: int, limit: int, now: datetime
) -> list[Job]:
    return claims.claim_next(
        conn, lane, room=room, limit=limit, owner=desk.owner, lease=desk.lease, now=now
    )


def _fill_claim(desk: JobContext, conn: sa.Connection, first: Job, now: datetime) -> ClaimedJobs:
    taken = [first]
    # As many as fit if each is as large as the first; what is larger than that waits.
    more = min(desk.claim_limit // first.size, _MOST_JOBS) - 1
    if more > 0 and first.failures == 0:
        taken += _claim_next(desk, conn, first.lane, room=first.size, limit=more, now=now)
    asked = results.of_jobs(conn, taken)
    for job in taken:
        desk.metrics.count_wait(job, now)
    return [ClaimedJob(job, questions) for job, questions in zip(taken, asked, strict=True)]
