"""Queries on the status of replicas, and on how long their lanes wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.job import JobState
from core.domain.replica import ReplicaState, ReplicaStatus
from db.queries.batches import live
from db.tables import batches as b
from db.tables import jobs as j
from db.tables import workers as w

# Time after the last heartbeat until a row is deleted, since the names of containers change.
# Higher: a stopped replica stays visible longer.
FORGOTTEN_AFTER = timedelta(hours=1)


def report(conn: sa.Connection, worker: ReplicaStatus) -> None:
    """Store the status of a replica, which alone writes its row."""
    values = asdict(worker)
    updated = conn.execute(w.update().where(w.c.name == worker.name).values(**values))
    if updated.rowcount == 0:
        conn.execute(w.insert().values(**values))


def forget(conn: sa.Connection, names: Sequence[str]) -> None:
    """Delete the rows of replicas that have ended."""
    conn.execute(w.delete().where(w.c.name.in_(names)))


def forget_silent(conn: sa.Connection, now: datetime) -> int:
    """Delete rows without a heartbeat for an hour, and return how many."""
    return conn.execute(w.delete().where(w.c.seen_at < now - FORGOTTEN_AFTER)).rowcount


def on_host(conn: sa.Connection, host: str) -> list[ReplicaStatus]:
    """Return the replicas of a host, by name."""
    query = sa.select(w).where(w.c.host == host).order_by(w.c.name)
    return [_entity(row) for row in conn.execute(query)]


def listed(conn: sa.Connection) -> list[ReplicaStatus]:
    """Return every replica with a heartbeat in the last hour, by name."""
    return [_entity(row) for row in conn.execute(sa.select(w).order_by(w.c.name))]


def waiting_since(conn: sa.Connection, lanes: Sequence[Lane], now: datetime) -> datetime | None:
    """Return the creation time of the oldest queued job of live batches."""
    since: datetime | None = conn.scalar(
        sa.select(sa.func.min(j.c.created_at))
        .join(b, b.c.id == j.c.batch_id)
        .where(
            j.c.state == JobState.QUEUED,
            j.c.lane.in_(lanes),
            live(now),
        )
    )
    return since


def _entity(row: sa.Row[tuple[object, ...]]) -> ReplicaStatus:
    values = dict(row._mapping)  # noqa: SLF001 - Row's public mapping
    return ReplicaStatus(**values | {"state": ReplicaState(row.state)})
