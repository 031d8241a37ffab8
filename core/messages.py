"""The one Celery message: a hint that a job is queued.

The message holds a job id and the version of the wire form, never the text of a question. SQL is
the truth, so a lost, repeated or late message changes nothing.

Not covered: the lane, which the Celery queue states, and the sending, which is `broker.lanes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from core.domain.batch import Lane
from core.errors import MessageInvalid

TASK = "answermill.answer"
WIRE_VERSION = 1

_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """A request to answer a job, with `batch` and `size` for display only."""

    job: int
    batch: int
    lane: Lane
    size: int  # questions

    def encode(self) -> dict[str, int]:
        """Return the wire form, the keyword arguments of the task."""
        return {"v": WIRE_VERSION, "job": self.job}

    @property
    def caption(self) -> str:
        """The text by which Flower and the logs name the message."""
        return f"batch={self.batch} job={self.job} n={self.size} lane={self.lane}"


@dataclass(frozen=True, slots=True)
class JobHint:
    """The message as a worker decodes it."""

    job: int

    @classmethod
    def decode(cls, wire: dict[str, Any]) -> Self:
        """Read the wire form and ignore fields that a later release added.

        Raises:
            MessageInvalid: the message has no version or job id, or a later version.
        """
        version, job = wire.get("v"), wire.get("job")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise MessageInvalid("no version")
        if version > WIRE_VERSION:
            raise MessageInvalid(f"version {version} is later than {WIRE_VERSION}")
        if not isinstance(job, int) or isinstance(job, bool) or not 1 <= job <= _LARGEST_ID:
            raise MessageInvalid("no job id")
        return cls(job=job)
