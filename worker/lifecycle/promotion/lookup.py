"""Model versions and their promotions, read in their own transactions.

Tests: `test_rollback`, `test_promote`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.queries import model_versions, promotion_log
from db.session import reading

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.domain.model_version import ModelVersion, PromotionEvent


def find(engine: sa.Engine, spec: str) -> ModelVersion:
    """Return the version that NAME, NAME@latest or NAME@3 stands for.

    Raises:
        ModelUnknown: no version matches.
    """
    with reading(engine) as conn:
        return model_versions.find(conn, spec)


def list_versions(engine: sa.Engine) -> list[ModelVersion]:
    """Return every version, by name, oldest first."""
    with reading(engine) as conn:
        return model_versions.listed(conn)


def history(engine: sa.Engine, version: ModelVersion) -> list[PromotionEvent]:
    """Return the promotions and rollbacks to or from a version, oldest first."""
    with reading(engine) as conn:
        return promotion_log.history(conn, version)
