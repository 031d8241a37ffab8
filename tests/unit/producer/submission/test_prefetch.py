from __future__ import annotations

import threading
import time

import pytest

from producer.submission.prefetch import prefetch


def ahead():
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_items_come_in_their_order():
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_the_next_item_is_fetched_while_one_is_in_work():
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    found = prefetch(items())
    assert next(found) == 1
    assert second.wait(10)
    assert list(found) == [2]


def test_what_is_raised_comes_in_its_place():
    def items():
        yield 1
        raise LookupError("broken")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(LookupError, match="broken"):
        next(found)


def test_no_more_is_read_than_memory_is_meant_for():
    read = []

    def items():
        for n in range(100):
            read.append(n)
            yield n

    found = prefetch(items())
    next(found)
    time.sleep(0.3)
    assert len(read) <= 5
    found.close()


def test_the_thread_ends_with_whoever_stops_reading():
    found = prefetch(iter(range(100)))
    next(found)
    assert ahead()
    found.close()
    assert not ahead()
