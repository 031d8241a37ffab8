"""The threads of a replica, for what it does beside the encoder: each takes a part of the texts.

numpy and scipy let go of Python's lock while they compute, so parts are computed at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")
_Map = Callable[[Callable[[slice], Any], Iterable[slice]], Iterable[Any]]


@dataclass(frozen=True)
class ThreadPool:
    """So many threads; one: nobody but the caller."""

    threads: int = 1
    map: _Map = map

    @classmethod
    def of(cls, threads: int) -> ThreadPool:
        """Start a crew; 0 threads: one."""
        if threads <= 1:
            return cls()
        return cls(threads, ThreadPoolExecutor(threads, "crew").map)

    def share(self, work: Callable[[slice], list[_T]], count: int, block: int) -> list[_T]:
        """Return what the work gives for each of so many texts, in their order.

        Args:
            work: gives one thing for each text of a slice.
            count: of texts.
            block: a thread's part is a multiple of it, but for the last.
        """
        size = max(1, math.ceil(count / (self.threads * block))) * block
        parts = [slice(start, start + size) for start in range(0, count, size)]
        return [one for found in self.map(work, parts) for one in found]
