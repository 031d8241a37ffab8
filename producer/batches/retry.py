"""Use case: let questions of a batch that failed, or were handed off, run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from broker.client import check
from core.domain.batch import Batch
from core.domain.result import Status
from core.errors import BatchClosed
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches, jobs, retries
from db.session import reading, transaction
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher

if TYPE_CHECKING:
    from celery import Celery

_JOBS = 50  # queued in one transaction: long ones keep workers from writing


@dataclass(frozen=True, slots=True)
class RetryResult:
    """A batch, and how many of its questions run again, or would."""

    batch: Batch
    questions: int
    dry_run: bool = False


def retry(
    engine: sa.Engine,
    app: Celery,
    settings: Settings,
    ref: str,
    statuses: Sequence[Status],
    *,
    only: str | None = None,
) -> RetryResult:
    """Forget the results of these statuses and queue their questions again.

    `only`: of those that failed, the ones with this class of error.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it was cancelled or has expired.
        ServiceUnavailable: the database or Redis can't be reached, or too many questions wait; what
            runs again already stays so.
    """
    found = count_retry(engine, ref, statuses, only=only)
    check(app, settings)
    batch, clock = found.batch, DatabaseClock(engine)
    room = AdmissionControl(engine, settings, batch.lane, clock)
    since = clock()
    total = 0
    while total < found.questions:
        room.reserve(min(found.questions - total, _JOBS * settings.job_size, room.limit))
        now = clock()
        with transaction(engine) as conn:
            count = retries.retry(
                conn, batch, statuses, limit=_JOBS, now=now, since=since, only=only
            )
        if not count:
            break  # somebody else retries them, too
        total += count
    _send(engine, JobDispatcher(app, settings), batch, clock())
    return replace(found, questions=total, dry_run=False)


def count_retry(
    engine: sa.Engine, ref: str, statuses: Sequence[Status], *, only: str | None = None
) -> RetryResult:
    """Tell how many questions `retry` would run again.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it was cancelled or has expired.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        if batch.state in batches.STOPPED:
            raise BatchClosed(batch.id, batch.state, "run again")
        count = retries.count(conn, batch.id, statuses, only)
    return RetryResult(batch, count, dry_run=True)


def _send(engine: sa.Engine, sender: JobDispatcher, batch: Batch, now: datetime) -> None:
    room = sender.room(batch.lane)
    if not room:
        return
    with transaction(engine) as conn:
        messages = jobs.to_send(conn, batch.lane, limit=room, lost_before=None, now=now)
    sender.send(messages)
