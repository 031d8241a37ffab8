"""The backlog of all batches: how much waits, how fast it drains. None commits."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from db.entities import JobState, Lane, Status
from db.tables import jobs as j


def waiting(conn: sa.Connection, lanes: Collection[Lane]) -> dict[Lane, int]:
    """Count the questions of these lanes that no worker has begun."""
    final = sum((j.c[s.value] for s in Status), start=sa.literal(0))
    left = sa.func.sum(j.c.last_position - j.c.first_position + 1 - final)
    queued = j.c.lane.in_(lanes), j.c.state == JobState.QUEUED
    query = sa.select(j.c.lane, left).where(*queued).group_by(j.c.lane)
    return dict.fromkeys(lanes, 0) | {Lane(lane): int(n) for lane, n in conn.execute(query)}


def drained(conn: sa.Connection, lanes: Collection[Lane], since: datetime) -> int:
    """Count the questions of these lanes that workers brought to an end since then."""
    worked = (j.c[s.value] for s in (Status.ANSWERED, Status.HANDED_OFF, Status.FAILED))
    query = sa.select(sa.func.sum(sum(worked, start=sa.literal(0)))).where(
        j.c.finished_at > since,
        j.c.lane.in_(lanes),
        j.c.state.in_((JobState.DONE, JobState.DEAD)),
    )
    return int(conn.scalar(query) or 0)
