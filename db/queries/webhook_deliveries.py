"""Queries on webhook deliveries, the messages about the end of a batch.

A delivery is inserted in the transaction that ends the batch, so none is lost. It holds the time
of its next attempt. A sender claims it by moving this time before it sends. If the sender dies,
the message is sent again under the same message id, by which a receiver detects duplicates.
Not covered: the HTTP request (`producer.webhooks`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.errors import DeliveryUnknown
from db.tables import batches as b
from db.tables import deliveries as d

# Time until the next attempt, as the specification proposes; after the last one, the delivery is
# given up. Higher: fewer requests to a broken receiver, later delivery after it recovers.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
_BACKOFF_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
BACKOFF = tuple(timedelta(seconds=seconds) for seconds in _BACKOFF_SECONDS)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The message about a batch's end, and the state of its delivery."""

    id: int
    batch_id: int
    message_id: str
    event: str
    created_at: datetime
    attempts: int
    next_at: datetime | None  # of the next attempt; None: there is none
    delivered_at: datetime | None
    status: int | None  # of the last response
    error: str | None  # of the last attempt

    @property
    def state(self) -> str:
        """The state: `waiting`, `delivered` or `given up`."""
        if self.delivered_at is not None:
            return "delivered"
        return "given up" if self.next_at is None else "waiting"

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the HTTP API and `webhooks list --json`.

        It does not contain the address, which may contain secrets.
        """
        return {
            "delivery": self.id,
            "batch": self.batch_id,
            "message": self.message_id,
            "event": self.event,
            "state": self.state,
            "attempts": self.attempts,
            "status": self.status,
            "error": self.error,
            "created_at": self.created_at,
            "next_at": self.next_at,
            "delivered_at": self.delivered_at,
        }


def add(conn: sa.Connection, ended: Sequence[tuple[int, str]], now: datetime) -> None:
    """Insert deliveries for ended batches, each with its final state."""
    if ended:
        values = [
            {
                "batch_id": batch_id,
                "message_id": f"msg_{uuid.uuid4().hex}",
                "event": f"batch.{state}",
                "created_at": now,
                "next_at": now,
            }
            for batch_id, state in ended
        ]
        conn.execute(d.insert(), values)


def claim_due(conn: sa.Connection, now: datetime, limit: int) -> list[tuple[Delivery, str]]:
    """Claim deliveries that are due, and return each with its address.

    A claim moves the time of the next attempt, so no other sender claims them until then.
    """
    query = (
        sa.select(d.c.id, d.c.attempts)
        .where(d.c.next_at <= now)
        .order_by(d.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_claimed(conn, row.id, row.attempts, now) for row in conn.execute(query).all()]


def _claimed(
    conn: sa.Connection, delivery_id: int, attempts: int, now: datetime
) -> tuple[Delivery, str]:
    wait = BACKOFF[min(attempts, len(BACKOFF) - 1)]
    address = sa.select(b.c.webhook).where(b.c.id == d.c.batch_id).scalar_subquery()
    row = conn.execute(
        d.update()
        .where(d.c.id == delivery_id)
        .values(attempts=attempts + 1, next_at=now + wait)
        .returning(d, address.label("address"))
    ).one()
    return _entity(row), row.address


def mark_delivered(conn: sa.Connection, delivery_id: int, status: int, now: datetime) -> None:
    """Store that the receiver accepted the message."""
    values = {"status": status, "error": None, "delivered_at": now, "next_at": None}
    conn.execute(d.update().where(d.c.id == delivery_id).values(values))


def mark_failed(
    conn: sa.Connection, delivery: Delivery, *, status: int | None, error: str, final: bool
) -> None:
    """Store a failed attempt, and give up after the last or a final one."""
    values: dict[str, Any] = {"status": status, "error": error}
    if final or delivery.attempts > len(BACKOFF):
        values["next_at"] = None
    conn.execute(d.update().where(d.c.id == delivery.id).values(values))


def replay(conn: sa.Connection, batch_id: int, delivery_id: int, now: datetime) -> Delivery:
    """Start the delivery of a message again, in any state.

    Raises:
        DeliveryUnknown: the batch has no delivery of this id.
    """
    row = conn.execute(
        d.update()
        .where(d.c.id == delivery_id, d.c.batch_id == batch_id)
        .values(attempts=0, next_at=now, delivered_at=None, status=None, error=None)
        .returning(d)
    ).first()
    if row is None:
        raise DeliveryUnknown(batch_id, delivery_id)
    return _entity(row)


def of_batch(conn: sa.Connection, batch_id: int) -> list[Delivery]:
    """Return a batch's deliveries, oldest first."""
    query = sa.select(d).where(d.c.batch_id == batch_id).order_by(d.c.id)
    return [_entity(row) for row in conn.execute(query)]


def _entity(row: sa.Row[Any]) -> Delivery:
    values = row._mapping  # noqa: SLF001 - Row's public mapping
    return Delivery(**{column.name: values[column.name] for column in d.c})
