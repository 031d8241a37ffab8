"""CAPTION core.domain.replica."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ReplicaState(StrEnum):
    """Whether a worker takes work."""

    READY = "ready"
    PAUSED = "paused"  # too many attempts in a row failed


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica of a worker at a moment."""

    name: str
    host: str
    lanes: str  # comma-separated
    state: ReplicaState
    job_id: int | None
    model_version: str
    failures: int  # attempts in a row that failed
    started_at: datetime
    seen_at: datetime
    progress_at: datetime
