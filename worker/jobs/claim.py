"""CAPTION worker.jobs.claim."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import Job
from db.queries import claims, results
from db.session import transaction
from worker.jobs.context import Claimed, JobContext, Work
from worker.monitoring.metrics import Stage

# Jobs that are answered together at most: each is one statement when they are stored.
_TOGETHER = 64


_ANY_SIZE = 1 << 62


def claim_job(desk: JobContext, job_id: int) -> Work | None:
    """Claim a queued job, topped up if it is small; None when it is not queued any more."""
    with desk.meters.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        job = claims.claim(conn, job_id, owner=desk.owner, lease=desk.lease, now=now)
        return None if job is None else _topped_up(desk, conn, job, now)


def take_next(desk: JobContext, lane: Lane) -> Work | None:
    """Claim the lane's oldest job, topped up if it is small; None when none is queued."""
    with desk.meters.timing(Stage.CLAIM), transaction(desk.engine) as conn:
        now = desk.clock()
        first = _claim_next(desk, conn, lane, room=_ANY_SIZE, limit=1, now=now)
        return _topped_up(desk, conn, first[0], now) if first else None


def _claim_next(
    desk: JobContext, conn: sa.Connection, lane: Lane, *, room: int, limit: int, now: datetime
) -> list[Job]:
    return claims.claim_next(
        conn, lane, room=room, limit=limit, owner=desk.owner, lease=desk.lease, now=now
    )


def _topped_up(desk: JobContext, conn: sa.Connection, first: Job, now: datetime) -> Work:
    taken = [first]
    # As many as fit if each is as large as the first; what is larger than that waits.
    more = min(desk.window // first.size, _TOGETHER) - 1
    if more > 0 and first.failures == 0:
        taken += _claim_next(desk, conn, first.lane, room=first.size, limit=more, now=now)
    asked = results.of_jobs(conn, taken)
    for job in taken:
        desk.meters.count_wait(job, now)
    return [Claimed(job, questions) for job, questions in zip(taken, asked, strict=True)]
