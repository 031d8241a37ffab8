"""Looking model versions up, and rolling back; promoting is `worker.lifecycle.promotion.promote`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.current_user import whoever_runs_this
from core.domain.model_version import PromotionNote
from core.errors import PromotionRefused
from db.clock import DatabaseClock
from db.queries import model_versions, promotion_log
from db.session import reading, transaction
from worker.model.registry import find_bundle

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.domain.model_version import ModelVersion, PromotionEvent
    from core.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback has done."""

    version: ModelVersion  # in production now
    canary: ModelVersion | None  # it was withdrawn; None: the production version was


def find(engine: sa.Engine, spec: str) -> ModelVersion:
    """Return the version that NAME, NAME@latest or NAME@3 stands for.

    Raises:
        ModelUnknown: none does.
    """
    with reading(engine) as conn:
        return model_versions.find(conn, spec)


def listed(engine: sa.Engine) -> list[ModelVersion]:
    """Return every version, by name, oldest first."""
    with reading(engine) as conn:
        return model_versions.listed(conn)


def history(engine: sa.Engine, version: ModelVersion) -> list[PromotionEvent]:
    """Return every move that brought the version or took it away, oldest first."""
    with reading(engine) as conn:
        return promotion_log.history(conn, version)


def roll_back(
    settings: Settings, engine: sa.Engine, name: str, reason: str | None = None
) -> RolledBack:
    """Withdraw a name's canary; without one its production version, for the one before.

    Raises:
        NoPreviousVersion: no earlier version of it was in production.
        BundleInvalid: the earlier version's bundle is missing or damaged.
        PromotionRefused: somebody else moved the versions meanwhile.
    """
    by, now, note = whoever_runs_this(), DatabaseClock(engine)(), PromotionNote(reason=reason)
    with transaction(engine) as conn:
        canary = model_versions.withdraw_canary(conn, name, by=by, now=now, note=note)
        if canary is not None:
            return RolledBack(model_versions.find(conn, name), canary)
        before = model_versions.previous_production(conn, name)
    find_bundle(settings, before)  # outside of the transaction: it may take long to fetch
    with transaction(engine) as conn:
        version = model_versions.roll_back(conn, name, by=by, now=now, note=note)
        if str(version) != str(before):
            raise PromotionRefused(str(version), "versions moved meanwhile; run the command again")
    return RolledBack(version, None)
