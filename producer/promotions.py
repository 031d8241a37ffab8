"""Use case: promote and roll back versions in a process without a model.

The gate needs a model, so it runs in `answermill model promote` only. This module promotes a
version only if that gate compared it with the version that is in production now, and the version
passed. A canary can therefore become production, and an unmeasured version cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from core.domain.model_version import (
    ActiveVersions,
    ModelVersion,
    PromotionEvent,
    PromotionKind,
    PromotionNote,
    VersionState,
)
from core.errors import ModelUnknown, PromotionRefused
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.operations import version_rollback
from db.queries import model_versions, promotion_log
from db.session import reading, transaction
from producer.connections import database

_HISTORY = 10  # promotions of a model


@dataclass(frozen=True, slots=True)
class OfferedVersion:
    """A version, and whether this module may promote it."""

    version: ModelVersion
    passed: bool  # the gate, compared with the version in production


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A model with its versions, newest first."""

    name: str
    offered: list[OfferedVersion]
    canary: ModelVersion | None
    previous: ModelVersion | None  # the version that a rollback returns to
    history: list[PromotionEvent]  # newest first


def model_overviews(engine: sa.Engine) -> list[ModelOverview]:
    """Return an overview of every model."""
    with reading(engine) as conn:
        names = dict.fromkeys(version.name for version in model_versions.listed(conn))
        return [_model(conn, name) for name in names]


def _model(conn: sa.Connection, name: str) -> ModelOverview:
    versions = model_versions.listed(conn, name)
    active = model_versions.active_by_state(conn, name)
    production = active.get(VersionState.PRODUCTION)
    histories = {v.version: promotion_log.history(conn, v) for v in versions}
    offered = [OfferedVersion(v, _passed(v, histories[v.version], production)) for v in versions]
    events = {event.id: event for history in histories.values() for event in history}
    return ModelOverview(
        name,
        offered[::-1],
        active.get(VersionState.CANARY),
        _previous(conn, name),
        sorted(events.values(), key=lambda event: -event.id)[:_HISTORY],
    )


def _previous(conn: sa.Connection, name: str) -> ModelVersion | None:
    try:
        return model_versions.previous_production(conn, name)
    except ModelUnknown:
        return None


def _passed(
    version: ModelVersion, history: list[PromotionEvent], production: ModelVersion | None
) -> bool:
    """Return whether the version passed a gate against this production."""
    if production is None or version.version == production.version:
        return False
    return any(
        event.version == version.version
        and event.kind in (PromotionKind.PROMOTED, PromotionKind.CANARY)
        and event.gate is not None
        and event.gate.get("production") == str(production)
        and bool(event.gate.get("compared"))
        and not any(metric["worse"] for metric in event.gate["compared"])
        for event in history
    )


def promote(engine: sa.Engine, spec: str, *, by: str, reason: str | None) -> ModelVersion:
    """Promote a version that passed the gate.

    Raises:
        ModelUnknown: no model version has this name.
        PromotionRefused: the version did not pass a gate against the version in production.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        version = model_versions.find(conn, spec)
        production = model_versions.lock_active(conn, version.name).get(VersionState.PRODUCTION)
        history = promotion_log.history(conn, version)
        if not _passed(version, history, production):
            baseline = production or "a version in production"
            problem = f"it has not passed the gate against {baseline}"
            hint = f"run `answermill model promote {version}`"
            raise PromotionRefused(str(version), f"{problem}; {hint}")
        gate = next(event.gate for event in reversed(history) if event.gate is not None)
        note = PromotionNote(reason=reason, gate=gate)
        model_versions.promote(conn, version, by=by, now=now, note=note)
        return model_versions.find(conn, str(version))


def roll_back(engine: sa.Engine, name: str, *, by: str, reason: str) -> ModelVersion:
    """Withdraw the canary, or return production to the previous version.

    Return the version that is in production after the call. Its bundle is in the store, because the
    version was in production earlier. A worker that cannot load it keeps its loaded version.

    Raises:
        NoPreviousVersion: no earlier version of this name was in production.
    """
    return version_rollback.roll_back(engine, name, by=by, reason=reason).version


def active_versions(settings: Settings) -> ActiveVersions:
    """Return the versions with which workers answer.

    Raises:
        ModelUnknown: no version is built or chosen yet.
    """
    with database(settings) as engine, reading(engine) as conn:
        return model_versions.active(conn, settings.model)
