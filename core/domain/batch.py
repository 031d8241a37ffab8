"""Questions, jobs, batches and results: their states and the legal moves between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from core.domain.result import Status


class Lane(StrEnum):
    """Which Celery queue a job waits in; interactive always goes first."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class BatchState(StrEnum):
    """The life of a submission."""

    OPEN = "open"  # questions are still being added
    SEALED = "sealed"  # all questions are in, some still wait or run
    DONE = "done"  # every question has its result
    CANCELLED = "cancelled"  # what had not started never will
    EXPIRED = "expired"  # the deadline passed first
    PRUNED = "pruned"  # its rows are being deleted; nobody finds it any more


BATCH_TRANSITIONS: dict[BatchState, frozenset[BatchState]] = {
    BatchState.OPEN: frozenset({BatchState.SEALED, BatchState.CANCELLED, BatchState.EXPIRED}),
    BatchState.SEALED: frozenset({BatchState.DONE, BatchState.CANCELLED, BatchState.EXPIRED}),
    BatchState.DONE: frozenset({BatchState.SEALED, BatchState.PRUNED}),  # retry, prune
    BatchState.CANCELLED: frozenset({BatchState.PRUNED}),
    BatchState.EXPIRED: frozenset({BatchState.PRUNED}),
    BatchState.PRUNED: frozenset(),
}


class Question(NamedTuple):
    """One text a customer asked. A tuple: a million of them are made in a third of the time."""

    position: int  # 1 for the first question of the batch
    key: str
    text: str
    language: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one submission made."""

    id: int
    name: str
    idempotency_key: str
    lane: Lane
    state: BatchState
    deadline: datetime | None
    question_count: int
    source: str
    model: str | None
    created_at: datetime
    finished_at: datetime | None
    webhook: str | None = None  # where its end is told


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Questions of a batch by where they stand."""

    queued: int
    running: int
    by_status: dict[Status, int]
    recent: int  # questions that became final in the last window
    oldest_queued_at: datetime | None

    @property
    def final(self) -> int:
        """Questions that have their result."""
        return sum(self.by_status.values())
