"""Reads ahead: a thread fetches the next items while the caller works on one.

Covers iterators that hold nothing which must be closed on the thread that made it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

_HELD = 2  # items that wait at most: memory stays bounded
_LOOK_SECONDS = 0.2  # how often a thread that waits for room looks whether anyone still reads


class _End:
    """What the thread says last: nothing more, or what was raised."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Pass the items on; whatever is raised among them is raised here, in its place."""
    found: queue.Queue[T | _End] = queue.Queue(_HELD)
    left = threading.Event()
    thread = threading.Thread(target=_fetch, args=(items, found, left), name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := found.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        thread.join()


def _fetch(items: Iterator[T], found: queue.Queue[T | _End], left: threading.Event) -> None:
    end = _End()
    try:
        for item in items:
            if not _put(found, item, left):
                return
    except BaseException as error:  # noqa: BLE001 - handed over to the one who reads
        end = _End(error)
    _put(found, end, left)


def _put(found: queue.Queue[T | _End], item: T | _End, left: threading.Event) -> bool:
    while not left.is_set():
        try:
            found.put(item, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
