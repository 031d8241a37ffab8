from __future__ import annotations

import threading
import time

import pytest

from producer.submission.prefetch import prefetch


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_items_come_in_their_order():
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_the_next_item_is_fetched_while_the_caller_works_on_one():
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    prefetched = prefetch(items())
    assert next(prefetched) == 1
    assert second.wait(10)
    assert list(prefetched) == [2]


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise LookupError("broken")

    prefetched = prefetch(items())
    assert next(prefetched) == 1
    with pytest.raises(LookupError, match="broken"):
        next(prefetched)


def test_only_the_next_item_is_in_memory():
    read = []

    def items():
        for n in range(100):
            read.append(n)
            yield n

    prefetched = prefetch(items())
    next(prefetched)
    time.sleep(0.3)
    assert read == [0, 1]
    prefetched.close()


def test_the_thread_ends_when_the_caller_stops_reading():
    prefetched = prefetch(iter(range(100)))
    next(prefetched)
    assert prefetch_threads()
    prefetched.close()
    assert not prefetch_threads()
