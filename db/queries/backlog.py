"""Queries on the backlog of all batches, and on throughput.

Not covered: the progress of one batch (`db.queries.batches.progress`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import JobState
from core.domain.result import Status
from db.queries.batches import LEFT, live
from db.tables import batches as b
from db.tables import jobs as j


@dataclass(frozen=True, slots=True)
class Backlog:
    """The questions of a lane that have no result yet."""

    lane: Lane
    batches: int  # with queued or running jobs
    jobs: int  # queued
    waiting: int  # questions without a result, of queued jobs
    running: int  # questions without a result, of running jobs
    oldest: datetime | None  # creation time of the oldest queued job


def by_lane(conn: sa.Connection, now: datetime) -> list[Backlog]:
    """Return each lane's backlog, aggregated over the unfinished jobs."""
    queued = j.c.state == JobState.QUEUED
    rows = conn.execute(
        sa.select(
            j.c.lane,
            sa.func.count(j.c.batch_id.distinct()).label("batches"),
            sa.func.sum(sa.case((queued, 1), else_=0)).label("jobs"),
            sa.func.sum(sa.case((queued, LEFT), else_=0)).label("waiting"),
            sa.func.sum(sa.case((queued, 0), else_=LEFT)).label("running"),
            sa.func.min(sa.case((queued, j.c.created_at))).label("oldest"),
        )
        .join(b, b.c.id == j.c.batch_id)
        .where(
            # Literals as in the partial index, so that the planner can use it.
            j.c.state.in_([sa.literal_column("'queued'"), sa.literal_column("'running'")]),
            live(now),
        )
        .group_by(j.c.lane)
    )
    by_lane = {row.lane: row for row in rows}
    return [_entity(lane, by_lane.get(lane)) for lane in Lane]


def _entity(lane: Lane, row: sa.Row[Any] | None) -> Backlog:
    if row is None:
        return Backlog(lane, 0, 0, 0, 0, None)
    return Backlog(
        lane=lane,
        batches=row.batches,
        jobs=row.jobs,
        waiting=int(row.waiting),
        running=int(row.running),
        oldest=row.oldest,
    )


def waiting(conn: sa.Connection, lanes: Collection[Lane]) -> dict[Lane, int]:
    """Count the questions of each lane's queued jobs that have no result."""
    queued = j.c.lane.in_(lanes), j.c.state == JobState.QUEUED
    query = sa.select(j.c.lane, sa.func.sum(LEFT)).where(*queued).group_by(j.c.lane)
    return dict.fromkeys(lanes, 0) | {Lane(lane): int(count) for lane, count in conn.execute(query)}


def drained(conn: sa.Connection, lanes: Collection[Lane], since: datetime) -> int:
    """Count the questions that workers gave a result since a time."""
    by_workers = (
        j.c[status.value] for status in (Status.ANSWERED, Status.HANDED_OFF, Status.FAILED)
    )
    query = sa.select(sa.func.sum(sum(by_workers, start=sa.literal(0)))).where(
        j.c.finished_at > since,
        j.c.lane.in_(lanes),
        j.c.state.in_((JobState.DONE, JobState.DEAD)),
    )
    return int(conn.scalar(query) or 0)
