"""Server-sent events: where batches stand, told to whoever follows them until they are final.

One thread of the process looks for all followers. A follower costs a thread while it is
served, so places are limited and streams end after a while: clients come again by
themselves, as the protocol has it. Where no place is free a client is told where the batch
stands, once, and when to ask again; so that many follow at a slower pace, and none is dropped.
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

LIFE_SECONDS = 25.0  # of a stream: shorter than what stops the server has patience for
MOST = 20  # batches that one stream tells about
_PAUSE_SECONDS = 1.0
_IDLE_SHARE = 4  # pauses are so many times as long as a look takes
_AGAIN_SECONDS, _LATER_SECONDS = 1, 3  # until a client comes again: with a place, without

Seen = dict[int, BatchStatus]


class EventStreams:
    """Looks where batches stand while anybody follows; its thread ends when nobody does."""

    def __init__(self, engine: sa.Engine, places: threading.Semaphore) -> None:
        self._engine, self._places = engine, places
        self._news = threading.Condition()
        self._followed: Counter[int] = Counter()
        self._seen: Seen = {}
        self._round = 0
        self._looking = False

    def stream(self, first: Sequence[BatchStatus]) -> Iterator[bytes]:
        """Tell where these batches stand, then each change, until all are final or time is up."""
        place = self._places.acquire(blocking=False)
        try:
            yield _again(_AGAIN_SECONDS if place else _LATER_SECONDS)
            yield from map(_event, first)
            left = [one.batch.id for one in first if not one.finished]
            if place and left:
                yield from self._follow(left)
        finally:
            if place:
                self._places.release()

    def _follow(self, ids: list[int]) -> Iterator[bytes]:
        until = time.monotonic() + LIFE_SECONDS
        told, left = self._join(ids), ids
        try:
            while left and (news := self._wait(told, until)) is not None:
                told, seen = news
                found = [seen[one] for one in left if one in seen]
                # An empty comment finds out whether anybody is there still.
                yield b"".join(map(_event, found)) or b":\n\n"
                left = [one for one in left if one not in seen or not seen[one].finished]
        finally:
            self._leave(ids)

    def _join(self, ids: Iterable[int]) -> int:
        with self._news:
            self._followed.update(ids)
            if not self._looking:
                threading.Thread(target=self._look, name="followers", daemon=True).start()
                self._looking = True
            return self._round

    def _leave(self, ids: Iterable[int]) -> None:
        with self._news:
            self._followed.subtract(ids)
            self._followed += Counter()  # keeps what somebody follows

    def _wait(self, told: int, until: float) -> tuple[int, Seen] | None:
        with self._news:
            there = self._news.wait_for(lambda: self._round != told, until - time.monotonic())
            return (self._round, self._seen) if there else None

    def _look(self) -> None:
        clock = DatabaseClock(self._engine)
        try:
            while followed := self._wanted():
                started = time.monotonic()
                self._tell(followed, clock)
                time.sleep(max(_PAUSE_SECONDS, _IDLE_SHARE * (time.monotonic() - started)))
        except BaseException:  # our bug: told by the thread, and the next follower starts another
            with self._news:
                self._looking = False
            raise

    def _wanted(self) -> list[int]:
        with self._news:
            if not self._followed:
                self._looking = False
            return list(self._followed)

    def _tell(self, followed: Iterable[int], clock: DatabaseClock) -> None:
        seen: Seen = {}
        try:
            now = clock()
            with reading(self._engine) as conn:
                for one in followed:
                    with suppress(BatchUnknown):  # it was deleted meanwhile
                        seen[one] = batch_status_in(conn, str(one), now)
        except ServiceUnavailable:
            pass  # the next look may find it
        with self._news:
            self._seen, self._round = seen, self._round + 1
            self._news.notify_all()


def _again(seconds: int) -> bytes:
    return f"retry: {seconds * 1000}\n\n".encode()


def _event(one: BatchStatus) -> bytes:
    name = "end" if one.finished else "progress"
    return f"event: {name}\ndata: {json.dumps(one.document())}\n\n".encode()
