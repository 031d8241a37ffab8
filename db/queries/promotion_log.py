"""The record of every move of a model's pointers: every query on it. None commits."""

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
    """Note a move for good.

    Args:
        conn: the transaction that makes the move.
        kind: what was done.
        version: what came into production, or the canary.
        previous: what was in production before.
        by: who did it.
        now: the time.
        note: why, and what the gate said.
        share: of a canary, of the jobs.
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
    """Return every move that brought the version or took it away, oldest first."""
    concerns = sa.or_(t.c.version == version.version, t.c.previous_version == version.version)
    query = sa.select(t).where(t.c.name == version.name, concerns).order_by(t.c.id)
    return [
        PromotionEvent(**{**row._mapping, "kind": PromotionKind(row.kind)})  # noqa: SLF001 - Row's public mapping
        for row in conn.execute(query)
    ]
