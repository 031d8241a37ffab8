from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from db.clock import DatabaseClock

_CLOSE = timedelta(seconds=5)


@pytest.fixture
def query_count(engine):
    """Return a function that counts the statements that read the time."""
    statements = []

    def note(_conn, _cursor, statement, *_):
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    return lambda: len([text for text in statements if "now" in text or "clock_timestamp" in text])


def test_the_clock_returns_the_database_time_in_utc(engine):
    now = DatabaseClock(engine)()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < _CLOSE


def test_the_clock_never_goes_back(engine):
    clock = DatabaseClock(engine)
    times = [clock() for _ in range(1_000)]
    assert times == sorted(times)


def test_the_clock_goes_on(engine):
    clock = DatabaseClock(engine)
    before = clock()
    time.sleep(0.05)
    assert timedelta(seconds=0.05) <= clock() - before < _CLOSE


def test_the_local_clock_has_no_effect(engine, monkeypatch):
    real = datetime.now(UTC)
    clock = DatabaseClock(engine)
    clock()
    for wrong in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        assert abs(clock() - real) < _CLOSE


def test_the_database_clock_is_read_once_and_again_after_a_while(engine, query_count, monkeypatch):
    clock = DatabaseClock(engine, refresh_seconds=300)
    for _ in range(10):
        clock()
    assert query_count() == 1
    moved = time.monotonic() + 301
    monkeypatch.setattr("db.clock.time.monotonic", lambda: moved)
    times = clock()
    assert query_count() == 2
    assert abs(times - datetime.now(UTC)) < _CLOSE


def test_threads_that_share_a_clock_read_whole_answers(engine):
    """The monotonic time of one read is never paired with the result of another."""
    clock = DatabaseClock(engine, refresh_seconds=0.0005)
    wrong, until = [], time.monotonic() + 0.3

    def read():
        while time.monotonic() < until:
            times = clock()
            if abs(times - datetime.now(UTC)) > _CLOSE:
                wrong.append(times)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
