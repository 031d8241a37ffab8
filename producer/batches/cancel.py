"""Use case: cancel a batch. When it returns nothing new starts; finished results stay."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from core.domain.batch import Batch, BatchProgress, BatchState
from core.domain.result import Status
from core.errors import BatchClosed
from db.clock import DatabaseClock
from db.queries import batches, jobs
from db.session import reading, transaction

_JOBS = 50  # closed in one transaction: long ones keep workers from writing


@dataclass(frozen=True, slots=True)
class CancelResult:
    """A cancelled batch, and where its questions stand."""

    batch: Batch
    progress: BatchProgress


def cancel(engine: sa.Engine, ref: str) -> CancelResult:
    """Cancel what has not started; one that was interrupted at it is carried on with.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it has ended.
    """
    clock = DatabaseClock(engine)
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        stopped = batches.end_early(conn, batch.id, BatchState.CANCELLED)
    unfinished = batch.state is BatchState.CANCELLED and batch.finished_at is None
    if not stopped and not unfinished:
        raise BatchClosed(batch.id, batch.state, "cancelled")
    while _close_some(engine, batch, clock):
        pass
    now = clock()
    with transaction(engine) as conn:
        batches.close_finished(conn, now, batch.id)
    with reading(engine) as conn:
        return CancelResult(
            batches.find(conn, str(batch.id)), batches.progress(conn, batch.id, now)
        )


def _close_some(engine: sa.Engine, batch: Batch, clock: DatabaseClock) -> int:
    now = clock()
    with transaction(engine) as conn:
        return jobs.close_queued(conn, batch, Status.CANCELLED, limit=_JOBS, now=now)
