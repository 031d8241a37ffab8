"""CAPTION db.queries.audit_log."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from db.tables import audit as a


def record(
    conn: sa.Connection,
    *,
    actor: str,
    action: str,
    target: str,
    now: datetime,
    status: int | None = None,
) -> int:
    """Note a change, or that somebody is about to make one; return the note's id."""
    values = {"at": now, "actor": actor, "action": action, "target": target, "status": status}
    return int(conn.execute(a.insert().values(values).returning(a.c.id)).scalar_one())


def record_outcome(conn: sa.Connection, note: int, status: int) -> None:
    """Add how it ended to the note of a change."""
    conn.execute(a.update().where(a.c.id == note).values(status=status))
