"""The status row of a replica."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ReplicaState(StrEnum):
    """Whether a replica claims jobs."""

    READY = "ready"
    PAUSED = "paused"  # too many consecutive attempts failed


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The status of one replica of a worker at one moment."""

    name: str
    host: str
    lanes: str  # comma-separated
    state: ReplicaState
    job_id: int | None
    model_version: str
    failures: int  # consecutive failed attempts
    started_at: datetime
    seen_at: datetime
    progress_at: datetime
