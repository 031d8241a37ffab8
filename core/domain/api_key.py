"""An API key of the HTTP front, and its scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """A right of an API key."""

    SUBMIT = "submit"  # ask questions; submit, cancel and retry batches
    READ = "read"  # read batches and results
    DESK = "desk"  # answer hand-offs
    ADMIN = "admin"  # all of these, and changes of how answers are made


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One secret of a named key, without the secret itself."""

    id: int
    name: str
    serial: int  # 1 for the first secret of the name
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def allows(self, scope: Scope) -> bool:
        """Return whether the key has the scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_active(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
