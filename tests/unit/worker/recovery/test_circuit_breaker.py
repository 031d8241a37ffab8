"""When a worker claims no jobs."""

from __future__ import annotations

import os
import signal

import pytest

from tests.fakes import FakeClock
from worker.recovery.circuit_breaker import CircuitBreaker


@pytest.fixture
def clock():
    return FakeClock(1_000.0)


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(failures=3, seconds=10.0, replicas=2, now=clock)


def failed(breaker, times):
    for _ in range(times):
        breaker.failed()


def test_it_opens_after_enough_failed_attempts_in_a_row(breaker):
    failed(breaker, 2)
    assert breaker.seconds_to_wait() == 0.0
    failed(breaker, 1)
    assert breaker.seconds_to_wait() == 10.0
    assert breaker.state() == (3, True)


def test_an_answered_job_resets_the_count(breaker):
    failed(breaker, 2)
    breaker.succeeded()
    failed(breaker, 2)
    assert breaker.seconds_to_wait() == 0.0


def test_after_the_pause_only_one_job_is_tried(breaker, clock):
    failed(breaker, 3)
    clock.now += 10.0
    assert breaker.seconds_to_wait() == 0.0
    assert breaker.seconds_to_wait() == 10.0


def test_each_failed_try_doubles_the_pause_up_to_ten_minutes(breaker, clock):
    failed(breaker, 3)
    pauses = []
    for _ in range(8):
        pauses.append(breaker.seconds_to_wait())
        clock.now += pauses[-1]
        assert breaker.seconds_to_wait() == 0.0
        breaker.failed()
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]


def test_a_successful_try_closes_it(breaker, clock):
    failed(breaker, 3)
    clock.now += 10.0
    assert breaker.seconds_to_wait() == 0.0
    breaker.succeeded()
    assert breaker.seconds_to_wait() == 0.0
    assert breaker.state() == (0, False)


def die_during_a_job(breaker, slot):
    child = os.fork()
    if child == 0:
        with breaker.attempt(slot):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_child_that_died_during_a_job_is_counted_by_its_successor(breaker):
    for _ in range(3):
        die_during_a_job(breaker, slot=1)
        breaker.count_predecessor_crash(1)
    assert breaker.state() == (3, True)


def test_a_child_that_died_without_a_job_is_not_counted(breaker):
    with breaker.attempt(0):
        pass
    breaker.count_predecessor_crash(0)
    assert breaker.state() == (0, False)


def test_another_model_begins_with_a_closed_breaker(breaker):
    failed(breaker, 3)
    breaker.reset()
    assert breaker.state() == (0, False)
    assert breaker.seconds_to_wait() == 0.0
