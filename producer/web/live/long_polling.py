"""Waits for the results of many questions at once, with one query for all of them.

A caller that waits costs a thread and a place in that query, nothing else. Waiting is best
effort: whatever happens here, the question is accepted and can be looked up later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import sqlalchemy as sa

from core.errors import AnswermillError
from db.queries import results
from db.session import reading

_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25
_IDLE_SHARE = 4  # pauses are so many times as long as a look takes


class ResultWaiter:
    """Looks for results while anybody waits; its thread ends when nobody does."""

    def __init__(self, engine: sa.Engine, places: threading.Semaphore) -> None:
        self._engine, self._places = engine, places
        self._lock = threading.Lock()
        self._final: dict[threading.Event, int] = {}  # each waiting caller's, and its batch
        self._looking = False

    def wait(self, batch_id: int, seconds: float) -> bool:
        """Wait until the batch's one question is final; False: not yet, or no place is free."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            return self._wait(batch_id, seconds)
        finally:
            self._places.release()

    def _wait(self, batch_id: int, seconds: float) -> bool:
        final = threading.Event()
        with self._lock:
            self._final[final] = batch_id
            if not self._looking:
                threading.Thread(target=self._look, name="waiting", daemon=True).start()
                self._looking = True
        try:
            return final.wait(seconds)
        finally:
            with self._lock:
                del self._final[final]

    def _look(self) -> None:
        try:
            while awaited := self._awaited():
                started = time.monotonic()
                self._wake(awaited)
                pause = max(_PAUSE_SECONDS, _IDLE_SHARE * (time.monotonic() - started))
                time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        except BaseException:  # our bug: told by the thread, and the next caller starts another
            with self._lock:
                self._looking = False
            raise

    def _awaited(self) -> set[int]:
        with self._lock:
            if not self._final:
                self._looking = False
            return set(self._final.values())

    def _wake(self, awaited: Iterable[int]) -> None:
        try:
            with reading(self._engine) as conn:
                found = set(results.answered_asks(conn, awaited))
        except AnswermillError:  # the database is away: who waits gives up in time
            time.sleep(_LONGEST_PAUSE_SECONDS)
            return
        with self._lock:
            for final, batch_id in self._final.items():
                if batch_id in found:
                    final.set()
