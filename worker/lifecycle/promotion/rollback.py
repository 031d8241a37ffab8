"""Rollback of a model, after a check of the bundle that it goes back to.

Not covered: the transactions, which the page shares (`db.operations.version_rollback`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.current_user import current_user
from db.operations import version_rollback
from worker.model.registry import find_bundle

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.domain.model_version import ModelVersion
    from core.settings.settings import Settings
    from db.operations.version_rollback import RolledBack


def roll_back(
    settings: Settings, engine: sa.Engine, name: str, reason: str | None = None
) -> RolledBack:
    """Withdraw a model's canary, or restore its previous production version.

    Raises:
        NoPreviousVersion: no earlier version of it was in production.
        BundleInvalid: the earlier version's bundle is missing or damaged.
        PromotionRefused: another process promoted or rolled back a version meanwhile.
    """

    def check(previous: ModelVersion) -> None:
        find_bundle(settings, previous)

    return version_rollback.roll_back(engine, name, by=current_user(), reason=reason, check=check)
