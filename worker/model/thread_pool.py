"""The threads of a replica for its work outside the encoder.

Each thread gets a part of the texts. numpy and scipy release Python's lock while they compute,
so the threads compute in parallel.
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
    """A fixed number of threads. With one thread, the caller computes."""

    threads: int = 1
    map: _Map = map

    @classmethod
    def of(cls, threads: int) -> ThreadPool:
        """Start a pool of that many threads, of one if the number is 0."""
        if threads <= 1:
            return cls()
        return cls(threads, ThreadPoolExecutor(threads, "texts").map)

    def share(self, work: Callable[[slice], list[_T]], count: int, block: int) -> list[_T]:
        """Return the results of the work for `count` texts, in order.

        Args:
            work: returns one value for each text of a slice.
            count: number of texts.
            block: the part of each thread but the last is a multiple of this many texts.
        """
        size = max(1, math.ceil(count / (self.threads * block))) * block
        parts = [slice(start, start + size) for start in range(0, count, size)]
        return [value for values in self.map(work, parts) for value in values]
