"""Workers: how each replica is, and how much waits for it. None commits."""

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

# Names come and go with containers; the table holds those of the last hour.
FORGOTTEN_AFTER = timedelta(hours=1)


def report(conn: sa.Connection, worker: ReplicaStatus) -> None:
    """Store how a replica is; it alone writes its row."""
    values = asdict(worker)
    known = conn.execute(w.update().where(w.c.name == worker.name).values(**values))
    if known.rowcount == 0:
        conn.execute(w.insert().values(**values))


def forget(conn: sa.Connection, names: Sequence[str]) -> None:
    """Delete the rows of workers that are known to have ended."""
    conn.execute(w.delete().where(w.c.name.in_(names)))


def forget_silent(conn: sa.Connection, now: datetime) -> int:
    """Delete the rows of those not heard of for long; return how many."""
    return conn.execute(w.delete().where(w.c.seen_at < now - FORGOTTEN_AFTER)).rowcount


def on_host(conn: sa.Connection, host: str) -> list[ReplicaStatus]:
    """Return the replicas of a host, by name."""
    query = sa.select(w).where(w.c.host == host).order_by(w.c.name)
    return [_entity(row) for row in conn.execute(query)]


def listed(conn: sa.Connection) -> list[ReplicaStatus]:
    """Return every replica that was heard of within the last hour, by name."""
    return [_entity(row) for row in conn.execute(sa.select(w).order_by(w.c.name))]


def waiting_since(conn: sa.Connection, lanes: Sequence[Lane], now: datetime) -> datetime | None:
    """Return since when the oldest job of live batches waits in these lanes."""
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
