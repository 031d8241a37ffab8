"""Jobs: their states, legal transitions and attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.domain.batch import Lane


class JobState(StrEnum):
    """The life of a job."""

    QUEUED = "queued"  # any worker may claim it
    RUNNING = "running"  # claimed until the lease ends
    DONE = "done"  # all of its questions have results
    SPLIT = "split"  # two halves replaced it
    DEAD = "dead"  # its only question failed in every attempt
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# Transitions that are not listed do not happen; the WHERE clauses of db/queries enforce it.
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.EXPIRED}),
    JobState.RUNNING: frozenset(
        {
            JobState.DONE,
            JobState.QUEUED,  # released, or its lease expired
            JobState.SPLIT,
            JobState.DEAD,
            JobState.CANCELLED,  # its lease expired after the batch was cancelled
            JobState.EXPIRED,
        }
    ),
    JobState.DONE: frozenset({JobState.QUEUED}),  # retry
    JobState.DEAD: frozenset({JobState.QUEUED}),  # retry
    JobState.SPLIT: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A slice of a batch, as a worker claims it or the sweep reads it.

    `attempt` is the fence: it grows with every claim, and each write by a worker must name the
    attempt that the worker claimed. `failures` counts the attempts that failed. `deadline` is the
    deadline of the batch. A claim fills `deadline` and `created_at`.
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
    def is_first_attempt(self) -> bool:
        """Whether this is the first attempt, so that no question has a result."""
        return self.attempt == 1 and self.failures == 0

    @property
    def size(self) -> int:
        """The number of its questions."""
        return self.last_position - self.first_position + 1
