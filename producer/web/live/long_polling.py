"""Long polling: one query loop waits for the results of many questions.

A waiting client occupies a thread and one of the limited slots, and adds an id to the query.
Waiting is best effort. Whatever happens here, the question is stored and can be looked up later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import sqlalchemy as sa

from core.errors import AnswermillError
from db.queries import results
from db.session import reading

_PAUSE_SECONDS = 0.01  # least pause between queries; higher: fewer queries, later answers
_LONGEST_PAUSE_SECONDS = 0.25
_IDLE_FACTOR = 4  # a pause lasts this many times as long as the query before it


class ResultWaiter:
    """A thread that queries for results while requests wait."""

    def __init__(self, engine: sa.Engine, slots: threading.Semaphore) -> None:
        self._engine, self._slots = engine, slots
        self._lock = threading.Lock()
        self._batches: dict[threading.Event, int] = {}  # the batch of each waiting request
        self._polling = False

    def wait(self, batch_id: int, seconds: float) -> bool:
        """Wait until the one question of a batch is final.

        Returns:
            False if the time is up or no slot is free.
        """
        if not self._slots.acquire(blocking=False):
            return False
        try:
            return self._wait(batch_id, seconds)
        finally:
            self._slots.release()

    def _wait(self, batch_id: int, seconds: float) -> bool:
        final = threading.Event()
        with self._lock:
            self._batches[final] = batch_id
            if not self._polling:
                threading.Thread(target=self._poll, name="waiting", daemon=True).start()
                self._polling = True
        try:
            return final.wait(seconds)
        finally:
            with self._lock:
                del self._batches[final]

    def _poll(self) -> None:
        try:
            while batch_ids := self._awaited():
                started = time.monotonic()
                self._wake(batch_ids)
                pause = max(_PAUSE_SECONDS, _IDLE_FACTOR * (time.monotonic() - started))
                time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        except BaseException:  # a bug: Python logs it, and the next request starts a new thread
            with self._lock:
                self._polling = False
            raise

    def _awaited(self) -> set[int]:
        with self._lock:
            if not self._batches:
                self._polling = False
            return set(self._batches.values())

    def _wake(self, batch_ids: Iterable[int]) -> None:
        try:
            with reading(self._engine) as conn:
                answered = set(results.answered_asks(conn, batch_ids))
        except AnswermillError:  # the database is unavailable: waiting requests time out
            time.sleep(_LONGEST_PAUSE_SECONDS)
            return
        with self._lock:
            for final, batch_id in self._batches.items():
                if batch_id in answered:
                    final.set()
