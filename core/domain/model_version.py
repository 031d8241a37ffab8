"""CAPTION core.domain.model_version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class VersionState(StrEnum):
    """The life of a model version."""

    BUILT = "built"  # never promoted
    CANARY = "canary"  # answers a share of the jobs beside the one in production
    PRODUCTION = "production"  # what its name stands for; one for each name
    RETIRED = "retired"  # was in production until a later one was promoted
    WITHDRAWN = "withdrawn"  # was in production or a canary until it was rolled back


class PromotionKind(StrEnum):
    """What was done with a model version."""

    PROMOTED = "promoted"
    CANARY = "canary"  # it began to answer a share of the jobs
    ROLLED_BACK = "rolled_back"  # it came back, as a later one was withdrawn
    CANARY_WITHDRAWN = "canary_withdrawn"


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
class ActiveVersions:
    """What workers answer with at one moment."""

    version: ModelVersion
    canary: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class PromotionNote:
    """What is kept about why a version was moved."""

    forced: bool = False  # the gate was not to be heard
    reason: str | None = None
    gate: dict[str, Any] | None = None  # the figures that were compared; None: none were


@dataclass(frozen=True, slots=True)
class PromotionEvent:
    """One move of a model's pointers, as it is kept for good."""

    id: int
    name: str
    version: int  # what came into production, or the canary
    previous_version: int | None  # in production before
    kind: PromotionKind
    share: float | None  # of a canary
    at: datetime
    by: str
    forced: bool
    reason: str | None
    gate: dict[str, Any] | None
