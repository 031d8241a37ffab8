"""Two operations on one database, the second begun between any two statements of the first.

Both run in threads of their own on connections of their own, so that locks, snapshots and
whatever else the database does are real. What stands in the way of the second one until the
first has ended is left to the database, too.
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

# How long the second one may take before it is taken to wait for the first: longer covers more
# on a slow machine, and is never what a test's outcome depends on.
_WAITS_SECONDS = 0.03
_HANGS_SECONDS = 60

Operation = Callable[[sa.Engine], object]


class Interleaving:
    """An engine for each of the two; what they raise is kept if it is allowed."""

    def __init__(
        self, settings: Settings, allowed: tuple[type[Exception], ...], *, reads: bool = False
    ) -> None:
        """Open them.

        Args:
            settings: of which database.
            allowed: what the two may raise.
            reads: whether the points in transactions that only read count, too.
        """
        self._first, self._second = open_engine(settings), open_engine(settings)
        self._allowed, self._reads = allowed, reads
        event.listen(self._first, "before_cursor_execute", self._before_statement)
        self._left = 0
        self._there, self._go_on = threading.Event(), threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self._first.dispose()
        self._second.dispose()

    def _before_statement(
        self, conn: sa.Connection, _cursor: object, told: str, *_: object
    ) -> None:
        if conn.get_execution_options().get(READING):
            if self._reads:
                self._at_point()
        elif conn.dialect.name == "postgresql" or told.startswith("BEGIN"):
            # Of SQLite's writers one works at a time: the other can begin before that one does.
            self._at_point()

    def _at_point(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._there.set()
            assert self._go_on.wait(_HANGS_SECONDS)

    def run(self, first: Operation, second: Operation, point: int) -> bool:
        """Run both, the second begun when the first comes to this point, counted from 1.

        Returns:
            Whether the first came so far; else the second was begun when it had ended.
        """
        self._left = point
        self._there.clear()
        self._go_on.clear()
        ended = threading.Event()
        with self._thread(first, self._first, ended):
            while not (self._there.is_set() or ended.is_set()):
                self._there.wait(0.001)
            inside = self._there.is_set()
            with self._thread(second, self._second, threading.Event()) as running:
                running.join(_WAITS_SECONDS)
                self._go_on.set()
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
            except BaseException as error:  # noqa: BLE001 - told by the thread that asked
                raised.append(error)
            finally:
                ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            self._go_on.set()
            thread.join(_HANGS_SECONDS)
            assert not thread.is_alive(), "the two wait for each other"
        if raised:
            raise raised[0]
