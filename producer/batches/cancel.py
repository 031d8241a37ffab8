"""Use case: cancel a batch.

After the call, no question of the batch starts. Finished results stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from core.domain.batch import Batch, BatchProgress, BatchState
from core.domain.result import Status
from core.errors import BatchClosed
from db.clock import DatabaseClock
from db.queries import batches, jobs
from db.session import reading, transaction

_JOBS = 50  # jobs closed in one transaction; higher: workers wait longer for its locks


@dataclass(frozen=True, slots=True)
class CancelResult:
    """A cancelled batch with its progress."""

    batch: Batch
    progress: BatchProgress


def cancel(engine: sa.Engine, ref: str) -> CancelResult:
    """Cancel queued questions, or continue an interrupted cancellation.

    Raises:
        BatchUnknown: no batch has this id or name.
        BatchClosed: the batch has ended.
    """
    clock = DatabaseClock(engine)
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        stopped = batches.end_early(conn, batch.id, BatchState.CANCELLED)
    interrupted = batch.state is BatchState.CANCELLED and batch.finished_at is None
    if not stopped and not interrupted:
        raise BatchClosed(batch.id, batch.state, "cancelled")
    while _close_queued(engine, batch, clock):
        pass
    now = clock()
    with transaction(engine) as conn:
        batches.close_finished(conn, now, batch.id)
    with reading(engine) as conn:
        return CancelResult(
            batches.find(conn, str(batch.id)), batches.progress(conn, batch.id, now)
        )


def _close_queued(engine: sa.Engine, batch: Batch, clock: DatabaseClock) -> int:
    now = clock()
    with transaction(engine) as conn:
        return jobs.close_queued(conn, batch, Status.CANCELLED, limit=_JOBS, now=now)
