"""Two operations on one database, the second started between two statements of the first.

Each runs in its own thread on its own connection, so locks and snapshots are real. The database
decides whether the second operation waits until the first has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import event

from core.settings.settings import Settings
from db.engine import open_engine
from db.session import READING

# Seconds after which the second operation is assumed to wait for the first. Higher: covers more
# interleavings on a slow machine. The outcome of a test never depends on it.
_WAITS_SECONDS = 0.03
_HANGS_SECONDS = 60  # seconds until a deadlock fails the test

Operation = Callable[[sa.Engine], object]


class Interleaving:
    """An engine for each of the two operations, and the errors that they may raise."""

    def __init__(
        self, settings: Settings, allowed: tuple[type[Exception], ...], *, reads: bool = False
    ) -> None:
        """Open both engines.

        Args:
            settings: the database's settings.
            allowed: the errors that the operations may raise.
            reads: whether statements of read-only transactions count as points, too.
        """
        self._first, self._second = open_engine(settings), open_engine(settings)
        self._allowed, self._reads = allowed, reads
        event.listen(self._first, "before_cursor_execute", self._before_statement)
        self._statements_left = 0
        self._paused, self._continue = threading.Event(), threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self._first.dispose()
        self._second.dispose()

    def _before_statement(
        self, conn: sa.Connection, _cursor: object, statement: str, *_: object
    ) -> None:
        if conn.get_execution_options().get(READING):
            if self._reads:
                self._at_point()
        elif conn.dialect.name == "postgresql" or statement.startswith("BEGIN"):
            # SQLite has one writer at a time: the second can only start before the first begins.
            self._at_point()

    def _at_point(self) -> None:
        self._statements_left -= 1
        if self._statements_left == 0:
            self._paused.set()
            assert self._continue.wait(_HANGS_SECONDS)

    def run(self, first: Operation, second: Operation, point: int) -> bool:
        """Run both, and start the second before the first's statement of this number.

        Statements are counted from 1.

        Returns:
            Whether the first had that many statements; if not, the second ran after it.
        """
        self._statements_left = point
        self._paused.clear()
        self._continue.clear()
        ended = threading.Event()
        with self._thread(first, self._first, ended):
            while not (self._paused.is_set() or ended.is_set()):
                self._paused.wait(0.001)
            inside = self._paused.is_set()
            with self._thread(second, self._second, threading.Event()) as running:
                running.join(_WAITS_SECONDS)
                self._continue.set()
        return inside

    @contextmanager
    def _thread(
        self, operation: Operation, engine: sa.Engine, ended: threading.Event
    ) -> Iterator[threading.Thread]:
        raised: list[BaseException] = []

        def run() -> None:
            try:
                operation(engine)
            except self._allowed:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again by the calling thread
                raised.append(error)
            finally:
                ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            self._continue.set()
            thread.join(_HANGS_SECONDS)
            assert not thread.is_alive(), "the two operations wait for each other"
        if raised:
            raise raised[0]
