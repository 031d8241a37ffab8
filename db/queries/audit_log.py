"""Queries on the audit log of changes over HTTP.

Not covered: promotions, which have their own log (`db.queries.promotion_log`).
"""

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
    """Store an entry about a finished or imminent change, and return its id."""
    values = {"at": now, "actor": actor, "action": action, "target": target, "status": status}
    return int(conn.execute(a.insert().values(values).returning(a.c.id)).scalar_one())


def record_outcome(conn: sa.Connection, entry_id: int, status: int) -> None:
    """Add the HTTP status of the finished change to its entry."""
    conn.execute(a.update().where(a.c.id == entry_id).values(status=status))
