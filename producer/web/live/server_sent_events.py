"""Server-sent events: the status of batches until they are final.

One thread of the process reads the status for all streams. A stream occupies a thread, so slots
are limited and a stream ends after `LIFE_SECONDS`. Clients reconnect, as the protocol specifies
(https://html.spec.whatwg.org/multipage/server-sent-events.html). If no slot is free, a client
receives the status once, with a longer reconnection time: many clients follow at a slower pace.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import sqlalchemy as sa

from core.errors import BatchUnknown, ServiceUnavailable
from db.clock import DatabaseClock
from db.session import reading
from producer.batches.status import BatchStatus, batch_status_in

LIFE_SECONDS = 25.0  # of a stream; shorter than the grace period of the server
MAX_BATCHES = 20  # of one stream
_PAUSE_SECONDS = 1.0  # least pause between queries; higher: fewer queries, later events
_IDLE_FACTOR = 4  # a pause lasts this many times as long as the queries before it
_RETRY_SECONDS, _RETRY_SECONDS_FULL = 1, 3  # until a client reconnects: with a slot, without

Statuses = dict[int, BatchStatus]  # by batch id


class EventStreams:
    """A thread that reads the status of batches while streams are open."""

    def __init__(self, engine: sa.Engine, slots: threading.Semaphore) -> None:
        self._engine, self._slots = engine, slots
        self._news = threading.Condition()
        self._followed: Counter[int] = Counter()  # open streams by batch id
        self._statuses: Statuses = {}
        self._round = 0  # of `_statuses`
        self._polling = False

    def stream(self, current: Sequence[BatchStatus]) -> Iterator[bytes]:
        """Send the current status, then each change until all batches are final.

        The stream ends earlier if its time is up or no slot is free.
        """
        has_slot = self._slots.acquire(blocking=False)
        try:
            yield _retry(_RETRY_SECONDS if has_slot else _RETRY_SECONDS_FULL)
            yield from map(_event, current)
            unfinished = [status.batch.id for status in current if not status.finished]
            if has_slot and unfinished:
                yield from self._follow(unfinished)
        finally:
            if has_slot:
                self._slots.release()

    def _follow(self, ids: list[int]) -> Iterator[bytes]:
        until = time.monotonic() + LIFE_SECONDS
        sent_round, unfinished = self._join(ids), ids
        try:
            while unfinished and (news := self._wait(sent_round, until)) is not None:
                sent_round, statuses = news
                current = [statuses[batch_id] for batch_id in unfinished if batch_id in statuses]
                # An empty comment detects a client that has disconnected.
                yield b"".join(map(_event, current)) or b":\n\n"
                finished = {status.batch.id for status in current if status.finished}
                unfinished = [batch_id for batch_id in unfinished if batch_id not in finished]
        finally:
            self._leave(ids)

    def _join(self, ids: Iterable[int]) -> int:
        with self._news:
            self._followed.update(ids)
            if not self._polling:
                threading.Thread(target=self._poll, name="followers", daemon=True).start()
                self._polling = True
            return self._round

    def _leave(self, ids: Iterable[int]) -> None:
        with self._news:
            self._followed.subtract(ids)
            self._followed += Counter()  # removes the zero counts

    def _wait(self, sent_round: int, until: float) -> tuple[int, Statuses] | None:
        with self._news:
            left = until - time.monotonic()
            has_news = self._news.wait_for(lambda: self._round != sent_round, left)
            return (self._round, self._statuses) if has_news else None

    def _poll(self) -> None:
        clock = DatabaseClock(self._engine)
        try:
            while batch_ids := self._followed_ids():
                started = time.monotonic()
                self._publish(batch_ids, clock)
                time.sleep(max(_PAUSE_SECONDS, _IDLE_FACTOR * (time.monotonic() - started)))
        except BaseException:  # a bug: Python logs it, and the next stream starts a new thread
            with self._news:
                self._polling = False
            raise

    def _followed_ids(self) -> list[int]:
        with self._news:
            if not self._followed:
                self._polling = False
            return list(self._followed)

    def _publish(self, batch_ids: Iterable[int], clock: DatabaseClock) -> None:
        statuses: Statuses = {}
        try:
            now = clock()
            with reading(self._engine) as conn:
                for batch_id in batch_ids:
                    with suppress(BatchUnknown):  # deleted in the meantime
                        statuses[batch_id] = batch_status_in(conn, str(batch_id), now)
        except ServiceUnavailable:
            pass  # the next round tries again
        with self._news:
            self._statuses, self._round = statuses, self._round + 1
            self._news.notify_all()


def _retry(seconds: int) -> bytes:
    return f"retry: {seconds * 1000}\n\n".encode()


def _event(status: BatchStatus) -> bytes:
    name = "end" if status.finished else "progress"
    return f"event: {name}\ndata: {json.dumps(status.document())}\n\n".encode()
