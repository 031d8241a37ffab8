"""Use case: report the progress, the rate and the failures of batches.

Reads the database only: one snapshot for each report. `watch` polls until the batch is finished.
"""

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
    """The progress of a batch at a point in time."""

    batch: Batch
    progress: BatchProgress
    now: datetime

    @property
    def finished(self) -> bool:
        """Whether the batch has ended and every question has its result."""
        return self.batch.finished_at is not None

    @property
    def questions_per_second(self) -> float | None:
        """Return the mean rate if finished, else the rate of the last window."""
        batch, window = self.batch, batches.RATE_WINDOW
        if batch.finished_at is None:
            count, span = self.progress.recent, min(window, self.now - batch.created_at)
        else:
            count, span = self.progress.final, batch.finished_at - batch.created_at
        seconds = span.total_seconds()
        return count / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        """Return the seconds until the stored questions are final at this rate."""
        if self.finished:
            return 0.0
        rate = self.questions_per_second
        return (self.progress.queued + self.progress.running) / rate if rate else None

    @property
    def oldest_waiting_seconds(self) -> float | None:
        """Return for how long the oldest queued question has waited."""
        since = self.progress.oldest_queued_at
        return None if since is None else max(0.0, (self.now - since).total_seconds())

    def document(self) -> dict[str, Any]:
        """Return the document that `status --json` prints."""
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
    """Return the status of a batch.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    now = (clock or DatabaseClock(engine))()
    with reading(engine) as conn:
        return batch_status_in(conn, ref, now)


def batch_status_in(conn: sa.Connection, ref: str, now: datetime) -> BatchStatus:
    """Return the status of a batch, read in the caller's transaction.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    batch = batches.find(conn, ref)
    return BatchStatus(batch, batches.progress(conn, batch.id, now), now)


def newest(engine: sa.Engine, limit: int, before: int | None = None) -> list[BatchStatus]:
    """Return the status of the newest batches, newest first.

    `before`: a batch id, to return older batches only.
    """
    now = DatabaseClock(engine)()
    with reading(engine) as conn:
        return [
            BatchStatus(batch, batches.progress(conn, batch.id, now), now)
            for batch in batches.newest(conn, limit, before)
        ]


@dataclass(frozen=True, slots=True)
class BatchFailures:
    """The failed questions of a batch, counted by class of error."""

    batch: Batch
    errors: dict[str, int]  # class of error: questions, most frequent first

    def document(self) -> dict[str, Any]:
        """Return the document that `status --failed --json` prints."""
        return {
            "batch": self.batch.id,
            "name": self.batch.name,
            "failed": sum(self.errors.values()),
            "errors": self.errors,
        }


def batch_failures(engine: sa.Engine, ref: str) -> BatchFailures:
    """Count the failed questions of a batch by class of error.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        return BatchFailures(batch, retries.classes(conn, batch.id))


def newest_failed(engine: sa.Engine, limit: int) -> list[BatchFailures]:
    """Count the failures of the newest batches that have any."""
    with reading(engine) as conn:
        failures = [
            BatchFailures(batch, retries.classes(conn, batch.id))
            for batch in batches.newest(conn, limit)
        ]
    return [failure for failure in failures if failure.errors]


def watch(engine: sa.Engine, ref: str, on_poll: Callable[[BatchStatus], None]) -> BatchStatus:
    """Report the status until the batch is finished, and return the last one.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    clock = DatabaseClock(engine)
    while True:
        status = batch_status(engine, ref, clock)
        on_poll(status)
        if status.finished:
            return status
        time.sleep(_POLL_SECONDS)
