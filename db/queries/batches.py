"""Batches: every query on them. None commits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch, BatchProgress, BatchState, Lane
from core.domain.job import JobState
from core.domain.result import Status
from core.encryption import require_open
from core.errors import BatchClosed, BatchUnknown
from core.messages import AnswerJob
from db.queries import webhook_deliveries
from db.tables import batches as b
from db.tables import jobs as j

RATE_WINDOW = timedelta(seconds=30)

# More do not fit the column; no name consists of digits alone.
_ID_DIGITS = 18

_ACTIVE = (JobState.QUEUED, JobState.RUNNING)
STOPPED = (BatchState.CANCELLED, BatchState.EXPIRED)
_KEPT = b.c.state != BatchState.PRUNED

# Of a job: its questions with a result, and those without.
FINAL = sum((j.c[s.value] for s in Status), start=sa.literal(0))
LEFT = j.c.last_position - j.c.first_position + 1 - FINAL


def live(now: datetime | sa.BindParameter[datetime]) -> sa.ColumnElement[bool]:
    """Return whether a batch's waiting questions may still be answered."""
    return sa.and_(
        b.c.state.in_((BatchState.OPEN, BatchState.SEALED)),
        sa.or_(b.c.deadline.is_(None), b.c.deadline > now),
    )


def create(
    conn: sa.Connection,
    *,
    name: str,
    idempotency_key: str,
    lane: Lane,
    source: str,
    now: datetime,
    deadline: datetime | None = None,
    model: str | None = None,
    webhook: str | None = None,
) -> Batch:
    """Open a batch; the name must be free."""
    row = conn.execute(
        b.insert()
        .values(
            name=name,
            idempotency_key=idempotency_key,
            lane=lane,
            state=BatchState.OPEN,
            source=source,
            deadline=deadline,
            model=model,
            webhook=webhook,
            created_at=now,
        )
        .returning(b)
    ).one()
    return _entity(row)


def find(conn: sa.Connection, ref: str) -> Batch:
    """Return the batch of an id or a name.

    Raises:
        BatchUnknown: there is none.
    """
    if not ref.isprintable():
        raise BatchUnknown(ref)  # no name is, and a database may not take it
    is_id = ref.isdecimal() and len(ref) <= _ID_DIGITS
    condition = b.c.id == int(ref) if is_id else b.c.name == ref
    row = conn.execute(sa.select(b).where(condition, _KEPT)).first()
    if row is None:
        raise BatchUnknown(ref)
    return _entity(row)


def named(conn: sa.Connection, name: str) -> Batch | None:
    """Return the batch of a name, if there is one."""
    row = conn.execute(sa.select(b).where(b.c.name == name)).first()
    return None if row is None else _entity(row)


def is_made_of(batch: Batch, digest: str) -> bool:
    """Tell whether the batch was made of what has this digest.

    Raises:
        KeyMissing: its own is encrypted with a key that is not here.
    """
    require_open(batch.idempotency_key)
    return batch.idempotency_key == digest


def newest(conn: sa.Connection, limit: int, before: int | None = None) -> list[Batch]:
    """Return the batches that were made last, newest first; those before an id, if given."""
    query = sa.select(b).where(_KEPT).order_by(b.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(b.c.id < before)
    return [_entity(row) for row in conn.execute(query)]


def message(row: sa.Row[Any]) -> AnswerJob:
    """Return the message that points at a row of `jobs`."""
    size = row.last_position - row.first_position + 1
    return AnswerJob(job=row.id, batch=row.batch_id, lane=Lane(row.lane), size=size)


def seal(conn: sa.Connection, batch: Batch, now: datetime) -> None:
    """Say that all questions of an open batch are in."""
    conn.execute(
        b.update()
        .where(b.c.id == batch.id, b.c.state == BatchState.OPEN)
        .values(state=BatchState.SEALED)
    )
    close_finished(conn, now, batch.id)


def close_finished(conn: sa.Connection, now: datetime, batch_id: int | None = None) -> int:
    """Note the end of the batch, or of every batch, that has no active job left.

    Run it after the transaction that ended a job: whoever comes last sees all of them ended.
    """
    active = sa.exists().where(j.c.batch_id == b.c.id, j.c.state.in_(_ACTIVE))
    over = sa.and_(b.c.finished_at.is_(None), b.c.state != BatchState.OPEN, ~active)
    if batch_id is not None:
        over = sa.and_(over, b.c.id == batch_id)
    # A retry may queue jobs again meanwhile: what is looked at under the lock is its end.
    found = list(conn.scalars(sa.select(b.c.id).where(over).with_for_update(of=b)))
    if not found:
        return 0
    state = sa.case((b.c.state == BatchState.SEALED, BatchState.DONE.value), else_=b.c.state)
    update = b.update().where(b.c.id.in_(found), over).values(state=state, finished_at=now)
    # The address itself: for IS NOT NULL of a column that came later, SQLite returns true.
    ended = conn.execute(update.returning(b.c.id, b.c.state, b.c.webhook)).all()
    told = [(row.id, row.state) for row in ended if row.webhook is not None]
    webhook_deliveries.add(conn, told, now)
    return len(ended)


def end_early(conn: sa.Connection, batch_id: int, state: BatchState) -> bool:
    """Cancel or expire a batch: none of its jobs can be claimed from here on."""
    moved = conn.execute(
        b.update()
        .where(b.c.id == batch_id, b.c.state.in_((BatchState.OPEN, BatchState.SEALED)))
        .values(state=state)
    )
    return moved.rowcount == 1


def lock_open_or_done(conn: sa.Connection, batch_id: int, wanted: str) -> None:
    """Keep a batch from being stopped, closed or pruned until the transaction ends.

    Raises:
        BatchClosed: it was stopped already, so that it can't be what is wanted.
        BatchUnknown: it was pruned.
    """
    state = conn.scalar(sa.select(b.c.state).where(b.c.id == batch_id, _KEPT).with_for_update())
    if state is None:
        raise BatchUnknown(str(batch_id))
    if state in STOPPED:
        raise BatchClosed(batch_id, state, wanted)


def reopen(conn: sa.Connection, batch_id: int) -> None:
    """Let the jobs of a finished batch be claimed again."""
    conn.execute(
        b.update()
        .where(b.c.id == batch_id, b.c.state == BatchState.DONE)
        .values(state=BatchState.SEALED, finished_at=None)
    )


def overdue(conn: sa.Connection, now: datetime) -> list[Batch]:
    """Return the batches whose deadline has passed before they ended."""
    query = sa.select(b).where(
        b.c.finished_at.is_(None),
        b.c.deadline <= now,
        b.c.state.in_((BatchState.OPEN, BatchState.SEALED)),
    )
    return [_entity(row) for row in conn.execute(query)]


def stopped_with_queued_jobs(conn: sa.Connection) -> list[Batch]:
    """Return cancelled and expired batches that still have queued jobs."""
    queued = sa.exists().where(j.c.batch_id == b.c.id, j.c.state == JobState.QUEUED)
    query = sa.select(b).where(b.c.finished_at.is_(None), b.c.state.in_(STOPPED), queued)
    return [_entity(row) for row in conn.execute(query)]


def progress(conn: sa.Connection, batch_id: int, now: datetime) -> BatchProgress:
    """Count a batch's questions by where they stand: an aggregate over its jobs."""
    waiting = sa.func.coalesce(sa.func.sum(LEFT), 0)
    rows = conn.execute(
        sa.select(
            j.c.state,
            waiting.label("waiting"),
            *(sa.func.sum(j.c[s.value]).label(s.value) for s in Status),
            sa.func.sum(sa.case((j.c.finished_at > now - RATE_WINDOW, FINAL), else_=0)).label(
                "recent"
            ),
            sa.func.min(j.c.created_at).label("oldest"),
        )
        .where(j.c.batch_id == batch_id)
        .group_by(j.c.state)
    ).all()
    by_state = {row.state: row for row in rows}
    queued = by_state.get(JobState.QUEUED)
    running = by_state.get(JobState.RUNNING)
    return BatchProgress(
        queued=int(queued.waiting) if queued else 0,
        running=int(running.waiting) if running else 0,
        by_status={s: int(sum(getattr(row, s.value) for row in rows)) for s in Status},
        recent=int(sum(row.recent for row in rows)),
        oldest_queued_at=queued.oldest if queued else None,
    )


def _entity(row: sa.Row[Any]) -> Batch:
    values = dict(row._mapping)  # noqa: SLF001 - Row's public mapping
    values["lane"], values["state"] = Lane(row.lane), BatchState(row.state)
    return Batch(**values)
