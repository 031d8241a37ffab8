"""Prefetch: a thread fetches the next item while the caller works on one.

Two items are in memory at most: the caller's item and the next one.

Not covered: iterators with resources that must be closed on the thread that opened them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")


class _End(Enum):
    END = auto()


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items in order, and raise an error of the iterator in place.

    The thread ends when the caller exhausts or closes this iterator.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        following = pool.submit(_fetch, items)
        while not isinstance(item := following.result(), _End):
            following = pool.submit(_fetch, items)
            yield item


def _fetch(items: Iterator[T]) -> T | _End:
    return next(items, _End.END)
