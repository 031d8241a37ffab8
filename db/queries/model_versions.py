"""Queries on model versions: registration, lookup, promotion, rollback.

Every change of the active versions is recorded in the log (`db.queries.promotion_log`).
Not covered: the gate, which a caller checks before it promotes.
"""

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

_MAX_VERSION_DIGITS = 9  # longer numbers do not fit the column
_NO_NOTE = PromotionNote()

ActiveByState = dict[VersionState, ModelVersion]


def register(
    conn: sa.Connection, *, name: str, digest: str, metrics: dict[str, Any], now: datetime
) -> ModelVersion:
    """Register a bundle under its name's next number.

    A bundle that is registered already keeps its number.
    """
    for version in listed(conn, name):
        if version.digest == digest:
            return version
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
    """Return all versions, or all versions of a name, by name and number."""
    query = sa.select(t).order_by(t.c.name, t.c.version)
    if name is not None:
        query = query.where(t.c.name == name)
    return [_entity(row) for row in conn.execute(query)]


def find(conn: sa.Connection, spec: str) -> ModelVersion:
    """Return the version that `NAME`, `NAME@latest` or `NAME@3` stands for.

    Raises:
        ModelUnknown: the version does not exist.
    """
    name, at, number = spec.partition("@")
    if not at:
        return _one(conn, t.c.name == name, t.c.state == VersionState.PRODUCTION, spec=spec)
    if number == "latest":
        newest = sa.select(sa.func.max(t.c.version)).where(t.c.name == name).scalar_subquery()
        return _one(conn, t.c.name == name, t.c.version == newest, spec=spec)
    if not number.isdecimal() or len(number) > _MAX_VERSION_DIGITS:
        raise ModelUnknown(spec, "write NAME, NAME@latest or NAME@3")
    return _one(conn, t.c.name == name, t.c.version == int(number), spec=spec)


def only_production(conn: sa.Connection) -> ModelVersion:
    """Return the only version in production.

    Raises:
        ModelUnknown: no version is in production, or several are.
    """
    versions = [v for v in listed(conn) if v.state is VersionState.PRODUCTION]
    if len(versions) == 1:
        return versions[0]
    if versions:
        names = ", ".join(v.name for v in versions)
        raise ModelUnknown("", f"several models are in production ({names}); set ANSWERMILL_MODEL")
    raise ModelUnknown(
        "", "build one first: `answermill model build --knowledge KB.jsonl --name NAME`"
    )


def active(conn: sa.Connection, spec: str | None) -> ActiveVersions:
    """Return the version in production, and its canary, if any.

    Args:
        conn: a transaction.
        spec: `NAME`, or `NAME@3`, which is used without a canary; None: the only name that is
            in production.

    Raises:
        ModelUnknown: no version matches, or several do.
    """
    version = find(conn, spec) if spec else only_production(conn)
    if spec and "@" in spec:
        return ActiveVersions(version)
    return ActiveVersions(version, _first(listed(conn, version.name), VersionState.CANARY))


def active_by_state(conn: sa.Connection, name: str) -> ActiveByState:
    """Return a name's versions in production and canary state, by state."""
    states = (VersionState.PRODUCTION, VersionState.CANARY)
    return {version.state: version for version in listed(conn, name) if version.state in states}


def lock_active(conn: sa.Connection, name: str) -> ActiveByState:
    """Lock a name's versions for the transaction, and return the active ones."""
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
    """Put a version into production and retire the previous one.

    Another version that is a canary stays one.
    """
    previous = lock_active(conn, version.name).get(VersionState.PRODUCTION)
    if previous:
        _leave(conn, previous, VersionState.RETIRED, now)
    _enter_production(conn, version, by, now)
    promotion_log.record(conn, PromotionKind.PROMOTED, version, previous, by=by, now=now, note=note)


def begin_canary(
    conn: sa.Connection,
    version: ModelVersion,
    share: float,
    *,
    by: str,
    now: datetime,
    note: PromotionNote = _NO_NOTE,
) -> None:
    """Make a version the canary, which answers a share of the jobs.

    Raises:
        PromotionRefused: see `check_canary`.
    """
    active_versions = lock_active(conn, version.name)
    check_canary(version, active_versions)
    production = active_versions[VersionState.PRODUCTION]
    _set(conn, version, state=VersionState.CANARY, canary_share=share)
    promotion_log.record(
        conn, PromotionKind.CANARY, version, production, by=by, now=now, note=note, share=share
    )


def check_canary(version: ModelVersion, active_versions: ActiveByState) -> None:
    """Check that a version can be a canary next to the active versions.

    Raises:
        PromotionRefused: no other version is in production, or another version is a canary.
    """
    production = active_versions.get(VersionState.PRODUCTION)
    canary = active_versions.get(VersionState.CANARY)
    if production is None:
        problem = f"no version of {version.name} is in production, so it cannot be a canary"
        raise PromotionRefused(str(version), f"{problem}; promote it without --canary")
    if production.version == version.version:
        raise PromotionRefused(str(version), "it is in production already")
    if canary and canary.version != version.version:
        problem = f"{canary} is a canary; promote it or roll it back first"
        raise PromotionRefused(str(version), problem)


def withdraw_canary(
    conn: sa.Connection, name: str, *, by: str, now: datetime, note: PromotionNote = _NO_NOTE
) -> ModelVersion | None:
    """Withdraw the name's canary and return it, or None if it has none."""
    active_versions = lock_active(conn, name)
    canary = active_versions.get(VersionState.CANARY)
    if canary is None:
        return None
    _leave(conn, canary, VersionState.WITHDRAWN, now)
    promotion_log.record(
        conn,
        PromotionKind.CANARY_WITHDRAWN,
        canary,
        active_versions.get(VersionState.PRODUCTION),
        by=by,
        now=now,
        note=note,
        share=canary.canary_share,
    )
    return canary


def roll_back(
    conn: sa.Connection, name: str, *, by: str, now: datetime, note: PromotionNote = _NO_NOTE
) -> ModelVersion:
    """Replace the version in production by the one before, and return that.

    Raises:
        NoPreviousVersion: no other version was in production.
    """
    production = lock_active(conn, name).get(VersionState.PRODUCTION)
    previous = previous_production(conn, name)
    if production:
        _leave(conn, production, VersionState.WITHDRAWN, now)
    _enter_production(conn, previous, by, now)
    promotion_log.record(
        conn, PromotionKind.ROLLED_BACK, previous, production, by=by, now=now, note=note
    )
    return find(conn, name)


def previous_production(conn: sa.Connection, name: str) -> ModelVersion:
    """Return the version that was in production before the current one.

    Raises:
        NoPreviousVersion: no other version was in production.
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


def _first(versions: list[ModelVersion], state: VersionState) -> ModelVersion | None:
    return next((version for version in versions if version.state is state), None)


def _one(conn: sa.Connection, *conditions: sa.ColumnElement[bool], spec: str = "") -> ModelVersion:
    row = conn.execute(sa.select(t).where(*conditions)).first()
    if row is None:
        raise ModelUnknown(spec)
    return _entity(row)


def _entity(row: sa.Row[Any]) -> ModelVersion:
    return ModelVersion(**{**row._mapping, "state": VersionState(row.state)})  # noqa: SLF001 - Row's public mapping
