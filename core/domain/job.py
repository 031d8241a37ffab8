"""CAPTION core.domain.job."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.domain.batch import Lane


class JobState(StrEnum):
    """The life of a job."""

    QUEUED = "queued"  # any worker may claim it
    RUNNING = "running"  # claimed; the lease says until when
    DONE = "done"  # all of its questions have results
    SPLIT = "split"  # two halves took its place
    DEAD = "dead"  # its one question kept failing
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# The legal moves. What is not listed does not happen; the store's WHERE clauses keep to it.
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
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
    def is_first_attempt(self) -> bool:
        """Whether this is its first attempt, so that no question of it has a result."""
        return self.attempt == 1 and self.failures == 0

    @property
    def size(self) -> int:
        """Questions in it."""
        return self.last_position - self.first_position + 1
