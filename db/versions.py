"""Model versions: every query on them. None commits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from db.entities import ModelVersion, VersionState
from db.errors import ModelUnknown
from db.tables import model_versions as t

# More do not fit the column.
_VERSION_DIGITS = 9


def register(
    conn: sa.Connection, *, name: str, digest: str, metrics: dict[str, Any], now: datetime
) -> ModelVersion:
    """Give the bundle the next number of its name; the same bundle keeps the number it has."""
    for known in listed(conn, name):
        if known.digest == digest:
            return known
    last = conn.scalar(sa.select(sa.func.max(t.c.version)).where(t.c.name == name)) or 0
    conn.execute(
        t.insert().values(
            name=name,
            version=last + 1,
            state=VersionState.BUILT,
            digest=digest,
            metrics=metrics,
            created_at=now,
        )
    )
    return _one(conn, t.c.name == name, t.c.version == last + 1)


def listed(conn: sa.Connection, name: str | None = None) -> list[ModelVersion]:
    """Return every version, or every version of a name, oldest first."""
    query = sa.select(t).order_by(t.c.name, t.c.version)
    if name is not None:
        query = query.where(t.c.name == name)
    return [_entity(row) for row in conn.execute(query)]


def find(conn: sa.Connection, spec: str) -> ModelVersion:
    """Return what `NAME`, `NAME@latest` or `NAME@3` stands for.

    Raises:
        ModelUnknown: nothing does.
    """
    name, at, which = spec.partition("@")
    if not at:
        return _one(conn, t.c.name == name, t.c.state == VersionState.PRODUCTION, spec=spec)
    if which == "latest":
        newest = sa.select(sa.func.max(t.c.version)).where(t.c.name == name).scalar_subquery()
        return _one(conn, t.c.name == name, t.c.version == newest, spec=spec)
    if not which.isdecimal() or len(which) > _VERSION_DIGITS:
        raise ModelUnknown(spec, "write NAME, NAME@latest or NAME@3")
    return _one(conn, t.c.name == name, t.c.version == int(which), spec=spec)


def only_production(conn: sa.Connection) -> ModelVersion:
    """Return the version in production when just one name has one.

    Raises:
        ModelUnknown: no name has one, or several have.
    """
    found = [v for v in listed(conn) if v.state is VersionState.PRODUCTION]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(v.name for v in found)
        raise ModelUnknown("", f"several models are in production ({names}): set ANSWERMILL_MODEL")
    raise ModelUnknown(
        "", "build one first: `answermill model build --knowledge KB.jsonl --name NAME`"
    )


def promote(conn: sa.Connection, version: ModelVersion, *, by: str, now: datetime) -> None:
    """Make it its name's production version; the one before retires."""
    _leave_production(conn, version.name, VersionState.RETIRED, now)
    _enter_production(conn, version, by, now)


def roll_back(conn: sa.Connection, name: str, *, by: str, now: datetime) -> ModelVersion:
    """Withdraw the production version; the one that retired last takes its place.

    Raises:
        ModelUnknown: none was in production before.
    """
    before = conn.execute(
        sa.select(t)
        .where(t.c.name == name, t.c.state == VersionState.RETIRED)
        .order_by(t.c.retired_at.desc(), t.c.version.desc())
        .limit(1)
    ).first()
    if before is None:
        raise ModelUnknown(name, "no earlier version of it was in production")
    _leave_production(conn, name, VersionState.WITHDRAWN, now)
    _enter_production(conn, _entity(before), by, now)
    return find(conn, name)


def _leave_production(conn: sa.Connection, name: str, state: VersionState, now: datetime) -> None:
    conn.execute(
        t.update()
        .where(t.c.name == name, t.c.state == VersionState.PRODUCTION)
        .values(state=state, retired_at=now)
    )


def _enter_production(conn: sa.Connection, version: ModelVersion, by: str, now: datetime) -> None:
    conn.execute(
        t.update()
        .where(t.c.name == version.name, t.c.version == version.version)
        .values(state=VersionState.PRODUCTION, promoted_at=now, promoted_by=by, retired_at=None)
    )


def _one(conn: sa.Connection, *conditions: sa.ColumnElement[bool], spec: str = "") -> ModelVersion:
    row = conn.execute(sa.select(t).where(*conditions)).first()
    if row is None:
        raise ModelUnknown(spec)
    return _entity(row)


def _entity(row: sa.Row[Any]) -> ModelVersion:
    return ModelVersion(**{**row._mapping, "state": VersionState(row.state)})  # noqa: SLF001 - Row's public mapping
