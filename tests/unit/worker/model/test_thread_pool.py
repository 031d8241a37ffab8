from __future__ import annotations

import threading

import pytest

from worker.model.thread_pool import ThreadPool


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 33, 100])
def test_each_text_is_processed_once_and_in_order(threads: int, count: int):
    pool = ThreadPool.of(threads)
    assert pool.share(lambda part: list(range(count))[part], count, 16) == list(range(count))


def test_every_part_but_the_last_has_whole_blocks():
    parts: list[slice] = []

    def work(part: slice) -> list[int]:
        parts.append(part)
        return []

    ThreadPool.of(2).share(work, 70, 16)
    sizes = [min(part.stop, 70) - part.start for part in sorted(parts, key=lambda p: p.start)]
    assert sizes == [48, 22]


def test_the_parts_are_processed_in_parallel():
    both = threading.Barrier(2, timeout=10)

    def work(part: slice) -> list[int]:
        both.wait()  # for the other part, which runs at the same time
        return [part.start]

    assert ThreadPool.of(2).share(work, 2, 1) == [0, 1]
