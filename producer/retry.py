"""Use case: let questions of a batch that failed, or were handed off, run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from db import batches, jobs
from db.config import Settings
from db.entities import Batch, Status
from db.errors import BatchClosed
from db.session import DatabaseClock, reading, transaction
from producer.broker import Sender, check

if TYPE_CHECKING:
    from celery import Celery

_JOBS = 50  # queued in one transaction: long ones keep workers from writing


@dataclass(frozen=True, slots=True)
class Retried:
    """A batch, and how many of its questions run again."""

    batch: Batch
    questions: int


def retry(
    engine: sa.Engine, app: Celery, settings: Settings, ref: str, statuses: Sequence[Status]
) -> Retried:
    """Forget the results of these statuses and queue their questions again.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it was cancelled or has expired.
        ServiceAway: the database or Redis can't be reached.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    if batch.state in batches.STOPPED:
        raise BatchClosed(batch.id, batch.state, "run again")
    check(app, settings)
    clock = DatabaseClock(engine)
    since = clock()
    total = 0
    while count := _queue_some(engine, batch, statuses, since, clock()):
        total += count
    _send(engine, Sender(app, settings), batch, clock())
    return Retried(batch, total)


def _queue_some(
    engine: sa.Engine, batch: Batch, statuses: Sequence[Status], since: datetime, now: datetime
) -> int:
    with transaction(engine) as conn:
        return jobs.retry(conn, batch, statuses, limit=_JOBS, now=now, since=since)


def _send(engine: sa.Engine, sender: Sender, batch: Batch, now: datetime) -> None:
    room = sender.room(batch.lane)
    if not room:
        return
    with transaction(engine) as conn:
        messages = jobs.to_send(conn, batch.lane, limit=room, lost_before=None, now=now)
    sender.send(messages)
