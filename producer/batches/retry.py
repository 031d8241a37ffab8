"""Use case: run failed or handed-off questions of a batch again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from broker.client import check
from core.domain.batch import Batch
from core.domain.result import Status
from core.errors import BatchClosed
from db.clock import DatabaseClock
from db.queries import batches, jobs, retries
from db.session import reading, transaction
from producer.connections import ProducerContext
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher

_JOBS = 50  # jobs queued in one transaction; higher: workers wait longer for its locks


@dataclass(frozen=True, slots=True)
class RetryResult:
    """A batch, and how many of its questions run again."""

    batch: Batch
    questions: int
    dry_run: bool = False  # the questions were counted only


def retry(
    context: ProducerContext, ref: str, statuses: Sequence[Status], *, only: str | None = None
) -> RetryResult:
    """Delete the results of these statuses and queue their questions again.

    `only`: a class of error, to limit the failed questions.

    Raises:
        BatchUnknown: no batch has this id or name.
        BatchClosed: the batch was cancelled or has expired.
        ServiceUnavailable: the database or Redis cannot be reached, or too many questions wait.
            Questions that are queued again stay queued.
    """
    engine, settings = context.engine, context.settings
    counted = count_retry(engine, ref, statuses, only=only)
    check(context.client, settings)
    batch, clock = counted.batch, DatabaseClock(engine)
    admission = AdmissionControl(engine, settings, batch.lane, clock)
    since = clock()
    total = 0
    while total < counted.questions:
        remaining = counted.questions - total
        admission.reserve(min(remaining, _JOBS * settings.job_size, admission.limit))
        now = clock()
        with transaction(engine) as conn:
            count = retries.retry(
                conn, batch, statuses, limit=_JOBS, now=now, since=since, only=only
            )
        if not count:
            break  # a concurrent retry queued the other questions
        total += count
    _send(engine, JobDispatcher(context.client, settings), batch, clock())
    return replace(counted, questions=total, dry_run=False)


def count_retry(
    engine: sa.Engine, ref: str, statuses: Sequence[Status], *, only: str | None = None
) -> RetryResult:
    """Count the questions that `retry` would run again.

    Raises:
        BatchUnknown: no batch has this id or name.
        BatchClosed: the batch was cancelled or has expired.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        if batch.state in batches.STOPPED:
            raise BatchClosed(batch.id, batch.state, "run again")
        count = retries.count(conn, batch.id, statuses, only)
    return RetryResult(batch, count, dry_run=True)


def _send(engine: sa.Engine, dispatcher: JobDispatcher, batch: Batch, now: datetime) -> None:
    free_slots = dispatcher.free_slots(batch.lane)
    if not free_slots:
        return
    with transaction(engine) as conn:
        messages = jobs.to_send(conn, batch.lane, limit=free_slots, lost_before=None, now=now)
    dispatcher.send(messages)
