"""The database's clock: the one time that every process of a stack uses.

Read once, then extended by this machine's monotonic clock, which no administrator sets; read
again every few minutes to correct drift.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from db import dialect
from db.session import reading


class DatabaseClock:
    """The database's time, so that the clocks of many machines need not agree.

    A read takes a connection. Code that runs in several threads must therefore read the clock
    before it acquires a connection. If every thread of the pool held one connection and waited
    for a second one, all of them would wait forever.

    Args:
        engine: the database.
        refresh_seconds: seconds between two reads. Higher: fewer queries, more drift.
    """

    def __init__(self, engine: sa.Engine, *, refresh_seconds: float = 300.0) -> None:
        self._engine = engine
        self._refresh_seconds = refresh_seconds
        # One object: a thread must never pair one read's monotonic time with another's result.
        self._last_read = (float("-inf"), datetime.min.replace(tzinfo=UTC))

    def __call__(self) -> datetime:
        """Return the time, aware, UTC."""
        read_at, database_time = self._last_read
        if time.monotonic() - read_at > self._refresh_seconds:
            self._last_read = read_at, database_time = self._read()
        return database_time + timedelta(seconds=time.monotonic() - read_at)

    def _read(self) -> tuple[float, datetime]:
        with reading(self._engine) as conn:
            value = dialect.database_time(conn)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.monotonic(), moment.astimezone(UTC)
