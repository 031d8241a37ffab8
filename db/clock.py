"""CAPTION db.clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from db import dialect
from db.session import reading


class DatabaseClock:
    """The database's time, so that the clocks of many machines need not agree.

    Asked once and then carried on by this machine's monotonic clock, which no
    administrator sets; asked again now and then against drift. That takes a connection, so
    whoever may be one of many threads asks before it takes one itself: as many as there are
    connections, each holding one and waiting for a second, would wait for each other.
    """

    def __init__(self, engine: sa.Engine, *, refresh_seconds: float = 300.0) -> None:
        self._engine = engine
        self._refresh_seconds = refresh_seconds
        # One object, so that a thread never reads the moment of one answer with another's time.
        self._answer = (float("-inf"), datetime.min.replace(tzinfo=UTC))

    def __call__(self) -> datetime:
        """Return the time, aware, UTC."""
        asked, at = self._answer
        if time.monotonic() - asked > self._refresh_seconds:
            self._answer = asked, at = self._ask()
        return at + timedelta(seconds=time.monotonic() - asked)

    def _ask(self) -> tuple[float, datetime]:
        with reading(self._engine) as conn:
            value = dialect.database_time(conn)
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.monotonic(), at.astimezone(UTC)
