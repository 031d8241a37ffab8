from __future__ import annotations

import pytest

from tests.fakes import FakeClock
from worker.jobs.claim_window import ClaimWindow

TOGETHER, CALM = 0.05, 0.7


@pytest.fixture
def clock():
    return FakeClock(1_000.0)


@pytest.fixture
def window(clock):
    return ClaimWindow(100, together_seconds=TOGETHER, calm_seconds=CALM, clock=clock)


def test_without_an_interactive_job_the_window_is_the_calm_one(window):
    assert window.seconds == CALM


def test_an_interactive_job_shortens_the_window_for_a_minute(window, clock):
    window.note_interactive()
    assert window.seconds == TOGETHER
    clock.now += 60.0
    assert window.seconds == TOGETHER
    clock.now += 0.1
    assert window.seconds == CALM


def test_a_later_interactive_job_extends_the_minute(window, clock):
    window.note_interactive()
    clock.now += 59.0
    window.note_interactive()
    clock.now += 59.0
    assert window.seconds == TOGETHER


def test_the_limit_is_the_initial_one_before_the_first_attempt(window):
    assert window.limit == 100


def test_the_limit_is_the_number_of_questions_that_are_answered_within_the_window(window):
    window.update(questions=100, seconds=0.2)
    assert window.limit == 350
    window.note_interactive()
    window.update(questions=400, seconds=0.1)
    assert window.limit == 200


def test_the_limit_grows_to_eight_times_the_initial_one_and_no_further(window):
    window.update(questions=100, seconds=1e-6)
    assert window.limit == 800


def test_a_slow_attempt_lowers_the_limit_to_the_initial_one_and_no_further(window):
    window.update(questions=100, seconds=0.2)
    window.update(questions=100, seconds=60.0)
    assert window.limit == 100


def test_a_failed_attempt_resets_the_limit(window):
    window.update(questions=100, seconds=0.2)
    window.update(questions=0, seconds=0.2)
    assert window.limit == 100


def test_a_look_counts_as_recent_for_the_shorter_window(window, clock):
    assert not window.looked_recently()
    window.note_look()
    assert window.looked_recently()
    clock.now += TOGETHER / 2
    assert window.looked_recently()
    clock.now += TOGETHER
    assert not window.looked_recently()


def test_with_a_window_of_zero_every_job_is_preceded_by_a_look(clock):
    window = ClaimWindow(100, together_seconds=0, calm_seconds=0, clock=clock)
    window.note_look()
    assert not window.looked_recently()


def test_a_limit_of_zero_stays_zero(clock):
    window = ClaimWindow(0, clock=clock)
    window.update(questions=100, seconds=0.001)
    assert window.limit == 0
