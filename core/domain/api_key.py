"""CAPTION core.domain.api_key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """What a key opens."""

    SUBMIT = "submit"  # ask, and submit, cancel and retry batches
    READ = "read"  # batches and results
    DESK = "desk"  # answer what was handed off
    ADMIN = "admin"  # all of these, and what changes how answers are made


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One secret of a name, without the secret."""

    id: int
    name: str
    serial: int  # 1 for the first secret of the name
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def opens(self, scope: Scope) -> bool:
        """Tell whether it opens what the scope stands for."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def live(self, now: datetime) -> bool:
        """Tell whether it opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
