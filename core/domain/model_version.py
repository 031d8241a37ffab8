"""Model versions, their states, and the records of promotions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class VersionState(StrEnum):
    """The life of a model version."""

    BUILT = "built"  # never promoted
    CANARY = "canary"  # answers a share of the jobs, next to the version in production
    PRODUCTION = "production"  # the name stands for it; one version of each name
    RETIRED = "retired"  # was in production until a later version was promoted
    WITHDRAWN = "withdrawn"  # was in production or a canary until a rollback


class PromotionKind(StrEnum):
    """The kind of a change of the active versions."""

    PROMOTED = "promoted"
    CANARY = "canary"  # the version began to answer a share of the jobs
    ROLLED_BACK = "rolled_back"  # the version returned, because a later one was withdrawn
    CANARY_WITHDRAWN = "canary_withdrawn"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable bundle with its name and number."""

    name: str
    version: int
    state: VersionState
    digest: str
    metrics: dict[str, Any]
    created_at: datetime
    promoted_at: datetime | None = None
    promoted_by: str | None = None
    retired_at: datetime | None = None
    canary_share: float | None = None  # share of the jobs, above 0 and below 1; of a canary only

    def __str__(self) -> str:
        """Return NAME@VERSION, as in results and on the command line."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class ActiveVersions:
    """The versions with which workers answer at one moment."""

    version: ModelVersion
    canary: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class PromotionNote:
    """The stored reason of a promotion or rollback."""

    forced: bool = False  # the result of the gate was ignored
    reason: str | None = None
    gate: dict[str, Any] | None = None  # the compared metrics; None: no comparison


@dataclass(frozen=True, slots=True)
class PromotionEvent:
    """One change of the active versions, which is stored permanently."""

    id: int
    name: str
    version: int  # the new version in production, or the canary
    previous_version: int | None  # in production before the change
    kind: PromotionKind
    share: float | None  # of a canary
    at: datetime
    by: str
    forced: bool
    reason: str | None
    gate: dict[str, Any] | None
