"""Queries on batches: their life, lookup and progress.

Not covered: their questions and jobs (`db.queries.questions`, `db.queries.jobs`), and their
deletion (`db.queries.retention`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch, BatchProgress, BatchState, Lane
from core.domain.job import JobState
from core.domain.result import Status
from core.encryption import require_decrypted
from core.errors import BatchClosed, BatchUnknown
from core.messages import AnswerJob
from db.queries import webhook_deliveries
from db.tables import batches as b
from db.tables import jobs as j

# Throughput is computed over this time; higher: smoother, but slower to show a change.
RATE_WINDOW = timedelta(seconds=30)

_MAX_ID_DIGITS = 18  # longer numbers do not fit the column; no name consists of digits alone

_ACTIVE = (JobState.QUEUED, JobState.RUNNING)
STOPPED = (BatchState.CANCELLED, BatchState.EXPIRED)
_NOT_PRUNED = b.c.state != BatchState.PRUNED

# SQL expressions on a job: the number of its questions with a result, and without one.
FINAL = sum((j.c[status.value] for status in Status), start=sa.literal(0))
LEFT = j.c.last_position - j.c.first_position + 1 - FINAL


def live(now: datetime | sa.BindParameter[datetime]) -> sa.ColumnElement[bool]:
    """Return the condition that a batch's questions may still be answered."""
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
    """Insert an open batch, whose name must be unused."""
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
        BatchUnknown: no batch has this id or name.
    """
    if not ref.isprintable():
        raise BatchUnknown(ref)  # every name is printable, and PostgreSQL rejects a NUL
    is_id = ref.isdecimal() and len(ref) <= _MAX_ID_DIGITS
    condition = b.c.id == int(ref) if is_id else b.c.name == ref
    row = conn.execute(sa.select(b).where(condition, _NOT_PRUNED)).first()
    if row is None:
        raise BatchUnknown(ref)
    return _entity(row)


def named(conn: sa.Connection, name: str) -> Batch | None:
    """Return the batch of a name, or None."""
    row = conn.execute(sa.select(b).where(b.c.name == name)).first()
    return None if row is None else _entity(row)


def is_made_of(batch: Batch, digest: str) -> bool:
    """Return whether the batch was created from questions of this digest.

    Raises:
        KeyMissing: the batch's digest is encrypted with a key that is not configured.
    """
    require_decrypted(batch.idempotency_key)
    return batch.idempotency_key == digest


def newest(conn: sa.Connection, limit: int, before: int | None = None) -> list[Batch]:
    """Return the newest batches, newest first.

    With `before`, return the newest of those with lower ids.
    """
    query = sa.select(b).where(_NOT_PRUNED).order_by(b.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(b.c.id < before)
    return [_entity(row) for row in conn.execute(query)]


def message(row: sa.Row[Any]) -> AnswerJob:
    """Return the message that points at a row of `jobs`."""
    size = row.last_position - row.first_position + 1
    return AnswerJob(job=row.id, batch=row.batch_id, lane=Lane(row.lane), size=size)


def seal(conn: sa.Connection, batch: Batch, now: datetime) -> None:
    """Mark that an open batch has all of its questions."""
    conn.execute(
        b.update()
        .where(b.c.id == batch.id, b.c.state == BatchState.OPEN)
        .values(state=BatchState.SEALED)
    )
    close_finished(conn, now, batch.id)


def close_finished(conn: sa.Connection, now: datetime, batch_id: int | None = None) -> int:
    """Finish the batch, or all batches, without active jobs. Return how many.

    Call it after the transaction that ended a job, in a new one: the last caller then sees that
    all jobs have ended.
    """
    active = sa.exists().where(j.c.batch_id == b.c.id, j.c.state.in_(_ACTIVE))
    over = sa.and_(b.c.finished_at.is_(None), b.c.state != BatchState.OPEN, ~active)
    if batch_id is not None:
        over = sa.and_(over, b.c.id == batch_id)
    # A retry may queue jobs at the same time, so the condition is checked again under the lock.
    locked = list(conn.scalars(sa.select(b.c.id).where(over).with_for_update(of=b)))
    if not locked:
        return 0
    state = sa.case((b.c.state == BatchState.SEALED, BatchState.DONE.value), else_=b.c.state)
    update = b.update().where(b.c.id.in_(locked), over).values(state=state, finished_at=now)
    # Not `webhook IS NOT NULL`: in RETURNING, SQLite computes true for a column added later.
    ended = conn.execute(update.returning(b.c.id, b.c.state, b.c.webhook)).all()
    to_notify = [(row.id, row.state) for row in ended if row.webhook is not None]
    webhook_deliveries.add(conn, to_notify, now)
    return len(ended)


def end_early(conn: sa.Connection, batch_id: int, state: BatchState) -> bool:
    """Cancel or expire a batch. Return whether it was unfinished.

    Its queued jobs cannot be claimed any more.
    """
    updated = conn.execute(
        b.update()
        .where(b.c.id == batch_id, b.c.state.in_((BatchState.OPEN, BatchState.SEALED)))
        .values(state=state)
    )
    return updated.rowcount == 1


def lock_open_or_done(conn: sa.Connection, batch_id: int, change: str) -> None:
    """Lock a batch: it cannot be ended or pruned until the transaction ends.

    Args:
        conn: the transaction.
        batch_id: the batch.
        change: the participle of the error message, such as "run again".

    Raises:
        BatchClosed: the batch was cancelled or has expired.
        BatchUnknown: the batch was pruned.
    """
    state = conn.scalar(
        sa.select(b.c.state).where(b.c.id == batch_id, _NOT_PRUNED).with_for_update()
    )
    if state is None:
        raise BatchUnknown(str(batch_id))
    if state in STOPPED:
        raise BatchClosed(batch_id, state, change)


def reopen(conn: sa.Connection, batch_id: int) -> None:
    """Return a finished batch to the state in which its jobs are claimed."""
    conn.execute(
        b.update()
        .where(b.c.id == batch_id, b.c.state == BatchState.DONE)
        .values(state=BatchState.SEALED, finished_at=None)
    )


def overdue(conn: sa.Connection, now: datetime) -> list[Batch]:
    """Return the unfinished batches whose deadline has passed."""
    query = sa.select(b).where(
        b.c.finished_at.is_(None),
        b.c.deadline <= now,
        b.c.state.in_((BatchState.OPEN, BatchState.SEALED)),
    )
    return [_entity(row) for row in conn.execute(query)]


def stopped_with_queued_jobs(conn: sa.Connection) -> list[Batch]:
    """Return the cancelled and expired batches that have queued jobs."""
    queued = sa.exists().where(j.c.batch_id == b.c.id, j.c.state == JobState.QUEUED)
    query = sa.select(b).where(b.c.finished_at.is_(None), b.c.state.in_(STOPPED), queued)
    return [_entity(row) for row in conn.execute(query)]


def progress(conn: sa.Connection, batch_id: int, now: datetime) -> BatchProgress:
    """Count a batch's questions by state, aggregated over its jobs."""
    waiting = sa.func.coalesce(sa.func.sum(LEFT), 0)
    rows = conn.execute(
        sa.select(
            j.c.state,
            waiting.label("waiting"),
            *(sa.func.sum(j.c[status.value]).label(status.value) for status in Status),
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
        by_status={
            status: int(sum(getattr(row, status.value) for row in rows)) for status in Status
        },
        recent=int(sum(row.recent for row in rows)),
        oldest_queued_at=queued.oldest if queued else None,
    )


def _entity(row: sa.Row[Any]) -> Batch:
    values = dict(row._mapping)  # noqa: SLF001 - Row's public mapping
    values["lane"], values["state"] = Lane(row.lane), BatchState(row.state)
    return Batch(**values)
