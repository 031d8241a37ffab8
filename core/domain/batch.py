"""Questions, jobs, batches and results: their states and the legal moves between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


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


class JobState(StrEnum):
    """The life of a job."""

    QUEUED = "queued"  # any worker may claim it
    RUNNING = "running"  # claimed; the lease says until when
    DONE = "done"  # all of its questions have results
    SPLIT = "split"  # two halves took its place
    DEAD = "dead"  # its one question kept failing
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class VersionState(StrEnum):
    """The life of a model version."""

    BUILT = "built"  # never promoted
    CANARY = "canary"  # answers a share of the jobs beside the one in production
    PRODUCTION = "production"  # what its name stands for; one for each name
    RETIRED = "retired"  # was in production until a later one was promoted
    WITHDRAWN = "withdrawn"  # was in production or a canary until it was rolled back


class MoveKind(StrEnum):
    """What was done with a model version."""

    PROMOTED = "promoted"
    CANARY = "canary"  # it began to answer a share of the jobs
    ROLLED_BACK = "rolled_back"  # it came back, as a later one was withdrawn
    CANARY_WITHDRAWN = "canary_withdrawn"


class Status(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    HANDED_OFF = "handed_off"  # a human must take it; `reason` says why
    FAILED = "failed"  # it could not be processed; `error` says why
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# The legal moves. What is not listed does not happen; the store's WHERE clauses keep to it.
JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.EXPIRED}),
    JobState.RUNNING: frozenset(
        {
            JobState.DONE,
            JobState.QUEUED,  # given back, or its lease ran out
            JobState.SPLIT,
            JobState.DEAD,
            JobState.CANCELLED,  # its lease ran out after the batch was cancelled
            JobState.EXPIRED,
        }
    ),
    JobState.DONE: frozenset({JobState.QUEUED}),  # retry
    JobState.DEAD: frozenset({JobState.QUEUED}),  # retry
    JobState.SPLIT: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}

BATCH_MOVES: dict[BatchState, frozenset[BatchState]] = {
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
class Job:
    """A slice of a batch, as a worker holds it or the sweep finds it.

    `attempt` is the fence: it grows with every claim, and what a worker writes must
    name the attempt that it claimed. `failures` counts the attempts that died.
    `deadline` is its batch's, told to whoever claims it, as is when the job was made.
    """

    id: int
    batch_id: int
    lane: Lane
    attempt: int
    failures: int
    first_position: int
    last_position: int
    deadline: datetime | None = field(default=None, compare=False)
    created_at: datetime | None = field(default=None, compare=False)

    @property
    def fresh(self) -> bool:
        """Whether this is its first attempt, so that no question of it has a result."""
        return self.attempt == 1 and self.failures == 0

    @property
    def size(self) -> int:
        """Questions in it."""
        return self.last_position - self.first_position + 1


class Via(StrEnum):
    """How an answer came about."""

    PHRASING = "phrasing"  # the question equals a known one
    CASCADE = "cascade"  # the cheap model of the version was sure enough
    PASS = "pass"  # noqa: S105 - the encoder read it
    CACHE = "cache"  # this process had answered the same text before


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """An entry that nearly was the answer."""

    entry_id: str
    matched: str  # its nearest known phrasing
    score: float  # comparable with the other runners-up of the question


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says to one question."""

    status: Status
    answer: str | None = None
    entry_id: str | None = None  # also the nearest entry of a hand-off
    matched: str | None = None  # the known phrasing that decided
    confidence: float | None = None  # 0 to 1
    reason: str | None = None  # of a hand-off
    error: str | None = None  # of a failure
    url: str | None = None  # where the entry can be read
    runners_up: tuple[RunnerUp, ...] | None = None  # the best first; None: not asked for
    scope: float | None = None  # 0 to 1: the chance that any entry fits; not stored
    via: Via | None = field(default=None, compare=False)  # not stored


@dataclass(frozen=True, slots=True)
class Result:
    """The one final row of a question."""

    position: int
    key: str
    answer: Answer
    model_version: str | None
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
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


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable bundle under its name and number."""

    name: str
    version: int
    state: VersionState
    digest: str
    metrics: dict[str, Any]
    created_at: datetime
    promoted_at: datetime | None = None
    promoted_by: str | None = None
    retired_at: datetime | None = None
    canary_share: float | None = None  # of a canary: of the jobs, above 0 and below 1

    def __str__(self) -> str:
        """Return the form that results and the command line name it by."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class InForce:
    """What workers answer with at one moment."""

    version: ModelVersion
    canary: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept about why a version was moved."""

    forced: bool = False  # the gate was not to be heard
    reason: str | None = None
    gate: dict[str, Any] | None = None  # the figures that were compared; None: none were


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a model's pointers, as it is kept for good."""

    id: int
    name: str
    version: int  # what came into production, or the canary
    previous_version: int | None  # in production before
    kind: MoveKind
    share: float | None  # of a canary
    at: datetime
    by: str
    forced: bool
    reason: str | None
    gate: dict[str, Any] | None
