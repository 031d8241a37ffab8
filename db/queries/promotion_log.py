"""Queries on the log of promotions, canaries and rollbacks."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from core.domain.model_version import ModelVersion, PromotionEvent, PromotionKind, PromotionNote
from db.tables import promotions as t


def record(
    conn: sa.Connection,
    kind: PromotionKind,
    version: ModelVersion,
    previous: ModelVersion | None,
    *,
    by: str,
    now: datetime,
    note: PromotionNote,
    share: float | None = None,
) -> None:
    """Add a permanent entry to the log.

    Args:
        conn: the transaction that changes the versions.
        kind: the kind of change.
        version: the version that entered production, or the canary.
        previous: the version that was in production, if any.
        by: the user.
        now: the time.
        note: the reason, and the result of the gate.
        share: the canary's share of the jobs, from 0 to 1.
    """
    conn.execute(
        t.insert().values(
            name=version.name,
            version=version.version,
            previous_version=previous and previous.version,
            kind=kind,
            share=share,
            at=now,
            by=by,
            forced=note.forced,
            reason=note.reason,
            gate=note.gate,
        )
    )


def history(conn: sa.Connection, version: ModelVersion) -> list[PromotionEvent]:
    """Return the log entries about a version, oldest first."""
    is_about = sa.or_(t.c.version == version.version, t.c.previous_version == version.version)
    query = sa.select(t).where(t.c.name == version.name, is_about).order_by(t.c.id)
    return [
        PromotionEvent(**{**row._mapping, "kind": PromotionKind(row.kind)})  # noqa: SLF001 - Row's public mapping
        for row in conn.execute(query)
    ]
