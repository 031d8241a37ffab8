"""Model versions: every query on them. None commits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.model_version import (
    ActiveVersions,
    ModelVersion,
    PromotionKind,
    PromotionNote,
    VersionState,
)
from core.errors import ModelUnknown, NoPreviousVersion, PromotionRefused
from db.queries import promotion_log
from db.tables import model_versions as t

# More do not fit the column.
_VERSION_DIGITS = 9
_NO_NOTE = PromotionNote()

ActiveByState = dict[VersionState, ModelVersion]


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


def active(conn: sa.Connection, spec: str | None) -> ActiveVersions:
    """Return what workers answer with that were told NAME, or nothing; NAME@3 has no canary.

    Raises:
        ModelUnknown: no version, or more than one, fits.
    """
    version = find(conn, spec) if spec else only_production(conn)
    if spec and "@" in spec:
        return ActiveVersions(version)
    return ActiveVersions(version, _first(listed(conn, version.name), VersionState.CANARY))


def active_by_state(conn: sa.Connection, name: str) -> ActiveByState:
    """Return a name's production version and its canary, as far as there are such."""
    states = (VersionState.PRODUCTION, VersionState.CANARY)
    return {version.state: version for version in listed(conn, name) if version.state in states}


def lock_active(conn: sa.Connection, name: str) -> ActiveByState:
    """The same, and keep others from moving them until the transaction ends."""
    conn.execute(sa.select(t.c.version).where(t.c.name == name).with_for_update())
    return active_by_state(conn, name)


def promote(
    conn: sa.Connection,
    version: ModelVersion,
    *,
    by: str,
    now: datetime,
    note: PromotionNote = _NO_NOTE,
) -> None:
    """Make it its name's production version; the one before retires, its canary stays."""
    before = lock_active(conn, version.name).get(VersionState.PRODUCTION)
    if before:
        _leave(conn, before, VersionState.RETIRED, now)
    _enter_production(conn, version, by, now)
    promotion_log.record(conn, PromotionKind.PROMOTED, version, before, by=by, now=now, note=note)


def begin_canary(
    conn: sa.Connection,
    version: ModelVersion,
    share: float,
    *,
    by: str,
    now: datetime,
    note: PromotionNote = _NO_NOTE,
) -> None:
    """Let it answer a share of the jobs beside the production version.

    Raises:
        PromotionRefused: see `check_canary`.
    """
    before = lock_active(conn, version.name)
    check_canary(version, before)
    production = before[VersionState.PRODUCTION]
    _set(conn, version, state=VersionState.CANARY, canary_share=share)
    promotion_log.record(
        conn, PromotionKind.CANARY, version, production, by=by, now=now, note=note, share=share
    )


def check_canary(version: ModelVersion, held: ActiveByState) -> None:
    """Check that it can be a canary beside what is there.

    Raises:
        PromotionRefused: nothing is in production beside it, it is there itself, or
            another version is a canary.
    """
    production, canary = held.get(VersionState.PRODUCTION), held.get(VersionState.CANARY)
    if production is None:
        problem = f"no {version.name} is in production for a canary to stand beside"
        raise PromotionRefused(str(version), f"{problem}; promote it without --canary")
    if production.version == version.version:
        raise PromotionRefused(str(version), "it is in production already")
    if canary and canary.version != version.version:
        problem = f"{canary} is a canary; promote it or roll it back first"
        raise PromotionRefused(str(version), problem)


def withdraw_canary(
    conn: sa.Connection, name: str, *, by: str, now: datetime, note: PromotionNote = _NO_NOTE
) -> ModelVersion | None:
    """Withdraw the name's canary, if it has one; return it."""
    before = lock_active(conn, name)
    canary = before.get(VersionState.CANARY)
    if canary is None:
        return None
    _leave(conn, canary, VersionState.WITHDRAWN, now)
    kind, production = PromotionKind.CANARY_WITHDRAWN, before.get(VersionState.PRODUCTION)
    share = canary.canary_share
    promotion_log.record(conn, kind, canary, production, by=by, now=now, note=note, share=share)
    return canary


def roll_back(
    conn: sa.Connection, name: str, *, by: str, now: datetime, note: PromotionNote = _NO_NOTE
) -> ModelVersion:
    """Withdraw the production version; the one that retired last takes its place.

    Raises:
        NoPreviousVersion: none was in production before.
    """
    production = lock_active(conn, name).get(VersionState.PRODUCTION)
    before = previous_production(conn, name)
    if production:
        _leave(conn, production, VersionState.WITHDRAWN, now)
    _enter_production(conn, before, by, now)
    promotion_log.record(
        conn, PromotionKind.ROLLED_BACK, before, production, by=by, now=now, note=note
    )
    return find(conn, name)


def previous_production(conn: sa.Connection, name: str) -> ModelVersion:
    """Return the version that was in production before the one that is.

    Raises:
        NoPreviousVersion: none was.
    """
    retired = [v for v in listed(conn, name) if v.state is VersionState.RETIRED]
    if not retired:
        raise NoPreviousVersion(name)
    return max(retired, key=lambda v: (v.retired_at, v.version))


def _leave(conn: sa.Connection, version: ModelVersion, state: VersionState, now: datetime) -> None:
    _set(conn, version, state=state, retired_at=now, canary_share=None)


def _enter_production(conn: sa.Connection, version: ModelVersion, by: str, now: datetime) -> None:
    entered = {"promoted_at": now, "promoted_by": by, "retired_at": None, "canary_share": None}
    _set(conn, version, state=VersionState.PRODUCTION, **entered)


def _set(conn: sa.Connection, version: ModelVersion, **values: Any) -> None:  # noqa: ANN401 - columns' values
    conn.execute(
        t.update().where(t.c.name == version.name, t.c.version == version.version).values(**values)
    )


def _first(found: list[ModelVersion], state: VersionState) -> ModelVersion | None:
    return next((version for version in found if version.state is state), None)


def _one(conn: sa.Connection, *conditions: sa.ColumnElement[bool], spec: str = "") -> ModelVersion:
    row = conn.execute(sa.select(t).where(*conditions)).first()
    if row is None:
        raise ModelUnknown(spec)
    return _entity(row)


def _entity(row: sa.Row[Any]) -> ModelVersion:
    return ModelVersion(**{**row._mapping, "state": VersionState(row.state)})  # noqa: SLF001 - Row's public mapping
