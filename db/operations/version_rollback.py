"""Rollback of a model, or withdrawal of its canary.

The command and the page share these transactions. Not covered: the bundles of versions. The
caller passes a check, which runs outside of the transactions because a download may be slow.
Tests: tests/unit/worker/lifecycle/promotion/test_rollback.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from core.domain.model_version import ModelVersion, PromotionNote
from core.errors import PromotionRefused
from db.clock import DatabaseClock
from db.queries import model_versions
from db.session import transaction


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The result of a rollback."""

    version: ModelVersion  # in production now
    canary: ModelVersion | None  # withdrawn; None: the production version was


def roll_back(
    engine: sa.Engine,
    name: str,
    *,
    by: str,
    reason: str | None,
    check: Callable[[ModelVersion], None] | None = None,
) -> RolledBack:
    """Withdraw a model's canary, or restore its previous production version.

    Args:
        engine: the database.
        name: the name of the model.
        by: the user, for the history.
        reason: the reason, for the history.
        check: called with the version to restore, before it is restored.

    Raises:
        NoPreviousVersion: no earlier version of it was in production.
        PromotionRefused: the versions changed while `check` was running.
    """
    now, note = DatabaseClock(engine)(), PromotionNote(reason=reason)
    with transaction(engine) as conn:
        canary = model_versions.withdraw_canary(conn, name, by=by, now=now, note=note)
        if canary is not None:
            return RolledBack(model_versions.find(conn, name), canary)
        if check is None:
            version = model_versions.roll_back(conn, name, by=by, now=now, note=note)
            return RolledBack(version, None)
        previous = model_versions.previous_production(conn, name)
    check(previous)
    with transaction(engine) as conn:
        version = model_versions.roll_back(conn, name, by=by, now=now, note=note)
        if str(version) != str(previous):
            raise PromotionRefused(
                str(version), "versions changed meanwhile; run the command again"
            )
    return RolledBack(version, None)
