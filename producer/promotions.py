"""Use case: what a producer may do with model versions, which has no model to ask.

The gate runs where models are: `answermill model promote`. Here a version goes into
production only if that gate has let it pass, beside the very version that is there now; so
a canary becomes production, and nothing that was not judged does.
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
from db.queries import model_versions, promotion_log
from db.session import reading, transaction
from producer.connections import database as opened

_LATEST_MOVES = 10


@dataclass(frozen=True, slots=True)
class OfferedVersion:
    """A version, and what may be done with it here."""

    version: ModelVersion
    passed: bool  # the gate let it pass beside what is in production


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A name with its versions, the newest first."""

    name: str
    offered: list[OfferedVersion]
    canary: ModelVersion | None
    earlier: ModelVersion | None  # what a rollback would bring back
    moves: list[PromotionEvent]  # the newest first


def model_overviews(engine: sa.Engine) -> list[ModelOverview]:
    """Return every model, by name."""
    with reading(engine) as conn:
        names = dict.fromkeys(version.name for version in model_versions.listed(conn))
        return [_model(conn, name) for name in names]


def _model(conn: sa.Connection, name: str) -> ModelOverview:
    listed, held = model_versions.listed(conn, name), model_versions.active_by_state(conn, name)
    production = held.get(VersionState.PRODUCTION)
    histories = {v.version: promotion_log.history(conn, v) for v in listed}
    offered = [OfferedVersion(v, _passed(v, histories[v.version], production)) for v in listed]
    moves = {move.id: move for found in histories.values() for move in found}
    return ModelOverview(
        name,
        offered[::-1],
        held.get(VersionState.CANARY),
        _earlier(conn, name),
        sorted(moves.values(), key=lambda move: -move.id)[:_LATEST_MOVES],
    )


def _earlier(conn: sa.Connection, name: str) -> ModelVersion | None:
    try:
        return model_versions.previous_production(conn, name)
    except ModelUnknown:
        return None


def _passed(
    version: ModelVersion, moves: list[PromotionEvent], production: ModelVersion | None
) -> bool:
    """Tell whether a gate has compared it with what is in production now, and found it no worse."""
    if production is None or version.version == production.version:
        return False
    return any(
        move.version == version.version
        and move.kind in (PromotionKind.PROMOTED, PromotionKind.CANARY)
        and move.gate is not None
        and move.gate.get("production") == str(production)
        and bool(move.gate.get("compared"))
        and not any(figure["worse"] for figure in move.gate["compared"])
        for move in moves
    )


def promote(engine: sa.Engine, spec: str, *, by: str, reason: str | None) -> ModelVersion:
    """Put a version into production that the gate has let pass.

    Raises:
        ModelUnknown: there is no such version.
        PromotionRefused: the gate hasn't, or not beside what is in production now.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        version = model_versions.find(conn, spec)
        production = model_versions.lock_active(conn, version.name).get(VersionState.PRODUCTION)
        moves = promotion_log.history(conn, version)
        if not _passed(version, moves, production):
            problem = f"no gate has let it pass beside {production or 'anything in production'}"
            told = f"{problem}; run `answermill model promote {version}`"
            raise PromotionRefused(str(version), told)
        gate = next(move.gate for move in reversed(moves) if move.gate is not None)
        note = PromotionNote(reason=reason, gate=gate)
        model_versions.promote(conn, version, by=by, now=now, note=note)
        return model_versions.find(conn, str(version))


def roll_back(engine: sa.Engine, name: str, *, by: str, reason: str) -> ModelVersion:
    """Withdraw a name's canary; without one its production version, for the one before.

    Return what is in production then. Its bundle is in the store already, since it was in
    production before; a worker that can't load it goes on with what it has.

    Raises:
        NoPreviousVersion: no earlier version of it was in production.
    """
    now, note = DatabaseClock(engine)(), PromotionNote(reason=reason)
    with transaction(engine) as conn:
        if model_versions.withdraw_canary(conn, name, by=by, now=now, note=note) is None:
            model_versions.roll_back(conn, name, by=by, now=now, note=note)
        return model_versions.find(conn, name)


def active_versions(settings: Settings) -> ActiveVersions:
    """Return what workers will answer with.

    Raises:
        ModelUnknown: nothing is built or chosen yet.
    """
    with opened(settings) as engine, reading(engine) as conn:
        return model_versions.active(conn, settings.model)
