"""The one message: a hint that a job is queued.

It holds a job's id and the wire form's version, never a question's text: SQL is the
truth, and a message that is lost, doubled or out of order changes nothing.
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
    """Please answer this job; `batch` and `size` are for people who watch."""

    job: int
    batch: int
    lane: Lane
    size: int

    def encode(self) -> dict[str, int]:
        """Return the wire form, the task's keyword arguments."""
        return {"v": WIRE_VERSION, "job": self.job}

    @property
    def caption(self) -> str:
        """How Flower and the logs name it."""
        return f"batch={self.batch} job={self.job} n={self.size} lane={self.lane}"


@dataclass(frozen=True, slots=True)
class JobHint:
    """What a worker reads off the wire."""

    job: int

    @classmethod
    def decode(cls, wire: dict[str, Any]) -> Self:
        """Read the wire form; fields that a later release added are passed over.

        Raises:
            MessageInvalid: the message is not one of ours, or of a later version.
        """
        version, job = wire.get("v"), wire.get("job")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise MessageInvalid("no version")
        if version > WIRE_VERSION:
            raise MessageInvalid(f"version {version} is later than {WIRE_VERSION}")
        if not isinstance(job, int) or isinstance(job, bool) or not 1 <= job <= _LARGEST_ID:
            raise MessageInvalid("no job id")
        return cls(job=job)
