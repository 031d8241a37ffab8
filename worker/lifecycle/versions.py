"""Moving the production pointer. A version goes there only if its bundle is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db import versions
from db.entities import VersionState
from db.errors import ModelUnknown
from db.session import DatabaseClock, reading, transaction
from worker.lifecycle.who import whoever_runs_this
from worker.model.registry import find_bundle

if TYPE_CHECKING:
    import sqlalchemy as sa

    from db.config import Settings
    from db.entities import ModelVersion


def find(engine: sa.Engine, spec: str) -> ModelVersion:
    """Return the version that NAME, NAME@latest or NAME@3 stands for.

    Raises:
        ModelUnknown: none does.
    """
    with reading(engine) as conn:
        return versions.find(conn, spec)


def listed(engine: sa.Engine) -> list[ModelVersion]:
    """Return every version, by name, oldest first."""
    with reading(engine) as conn:
        return versions.listed(conn)


def promote(settings: Settings, engine: sa.Engine, spec: str) -> tuple[ModelVersion, bool]:
    """Put a version into production; return it, and whether it was not there before.

    Raises:
        ModelUnknown: there is no such version, or the number was not told.
        BundleInvalid: its bundle is missing or damaged.
    """
    if "@" not in spec:
        raise ModelUnknown(spec, f"say which version: {spec}@NUMBER or {spec}@latest")
    version = find(engine, spec)
    if version.state is VersionState.PRODUCTION:
        return version, False
    find_bundle(settings, version)
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        versions.promote(conn, version, by=whoever_runs_this(), now=now)
        return versions.find(conn, str(version)), True


def roll_back(settings: Settings, engine: sa.Engine, name: str) -> ModelVersion:
    """Withdraw a name's production version; the one before takes its place.

    Raises:
        ModelUnknown: no earlier version of it was in production.
        BundleInvalid: the earlier version's bundle is missing or damaged.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        version = versions.roll_back(conn, name, by=whoever_runs_this(), now=now)
        find_bundle(settings, version)  # its error takes the move back
    return version
