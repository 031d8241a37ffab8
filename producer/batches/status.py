"""Use case: where a batch stands, how fast it goes, when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch, BatchProgress
from db.clock import DatabaseClock
from db.queries import batches, retries
from db.session import reading

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch at a moment."""

    batch: Batch
    progress: BatchProgress
    now: datetime

    @property
    def finished(self) -> bool:
        """Whether every question that will have a result has it."""
        return self.batch.finished_at is not None

    @property
    def questions_per_second(self) -> float | None:
        """Of the whole time when finished, of the last window while it runs."""
        batch, window = self.batch, batches.RATE_WINDOW
        if batch.finished_at is None:
            count, span = self.progress.recent, min(window, self.now - batch.created_at)
        else:
            count, span = self.progress.final, batch.finished_at - batch.created_at
        seconds = span.total_seconds()
        return count / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        """Until the questions that are in have their results, at the present rate."""
        if self.finished:
            return 0.0
        rate = self.questions_per_second
        return (self.progress.queued + self.progress.running) / rate if rate else None

    @property
    def oldest_waiting_seconds(self) -> float | None:
        """How long the question that waits longest has waited for a worker."""
        since = self.progress.oldest_queued_at
        return None if since is None else max(0.0, (self.now - since).total_seconds())

    def document(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        return {
            "batch": self.batch.id,
            "name": self.batch.name,
            "lane": self.batch.lane.value,
            "state": self.batch.state.value,
            "questions": self.batch.question_count,
            **{status.value: count for status, count in self.progress.by_status.items()},
            "queued": self.progress.queued,
            "running": self.progress.running,
            "questions_per_second": _rounded(self.questions_per_second),
            "eta_seconds": _rounded(self.eta_seconds),
            "oldest_waiting_seconds": _rounded(self.oldest_waiting_seconds),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def batch_status(engine: sa.Engine, ref: str, clock: DatabaseClock | None = None) -> BatchStatus:
    """Tell where a batch stands.

    Raises:
        BatchUnknown: there is no such batch.
    """
    now = (clock or DatabaseClock(engine))()
    with reading(engine) as conn:
        return batch_status_in(conn, ref, now)


def batch_status_in(conn: sa.Connection, ref: str, now: datetime) -> BatchStatus:
    """Tell where a batch stands in a transaction.

    Raises:
        BatchUnknown: there is no such batch.
    """
    batch = batches.find(conn, ref)
    return BatchStatus(batch, batches.progress(conn, batch.id, now), now)


def newest(engine: sa.Engine, limit: int, before: int | None = None) -> list[BatchStatus]:
    """Tell where the batches stand that were made last (before an id, if given), newest first."""
    now = DatabaseClock(engine)()
    with reading(engine) as conn:
        found = batches.newest(conn, limit, before)
        return [BatchStatus(batch, batches.progress(conn, batch.id, now), now) for batch in found]


@dataclass(frozen=True, slots=True)
class BatchFailures:
    """What failed of a batch."""

    batch: Batch
    errors: dict[str, int]  # questions by class of error, the most frequent first

    def document(self) -> dict[str, Any]:
        """Return what `status --failed --json` prints."""
        return {
            "batch": self.batch.id,
            "name": self.batch.name,
            "failed": sum(self.errors.values()),
            "errors": self.errors,
        }


def batch_failures(engine: sa.Engine, ref: str) -> BatchFailures:
    """Tell what failed of a batch, by class of error.

    Raises:
        BatchUnknown: there is no such batch.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        return BatchFailures(batch, retries.classes(conn, batch.id))


def newest_failed(engine: sa.Engine, limit: int) -> list[BatchFailures]:
    """Tell what failed of the batches that were made last, newest first, if anything did."""
    with reading(engine) as conn:
        found = [
            BatchFailures(batch, retries.classes(conn, batch.id))
            for batch in batches.newest(conn, limit)
        ]
    return [one for one in found if one.errors]


def watch(engine: sa.Engine, ref: str, on_change: Callable[[BatchStatus], None]) -> BatchStatus:
    """Tell where a batch stands again and again until it is finished; return the end.

    Raises:
        BatchUnknown: there is no such batch.
    """
    clock = DatabaseClock(engine)
    while True:
        found = batch_status(engine, ref, clock)
        on_change(found)
        if found.finished:
            return found
        time.sleep(_POLL_SECONDS)
