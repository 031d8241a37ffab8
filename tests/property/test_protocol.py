"""The protocol's every state: up to three workers, three jobs, and halves of jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.property.exhaust import explore
from tests.property.protocol import Broken, Job, Protocol, Rules, State

WHOLE = Rules()
UNDISTURBED = frozenset({"the user cancels", "the deadline passes"})


def _start(sizes: tuple[int, ...], workers: int) -> State:
    return State(jobs=tuple(sorted(Job(size) for size in sizes)), idle=workers)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 1)], ids=str)
def test_no_state_breaks_a_promise_and_from_each_all_questions_can_end(sizes, workers):
    assert explore(Protocol(WHOLE), _start(sizes, workers)) > 100


@pytest.mark.parametrize(
    ("sizes", "workers"), [((2, 1), 2), ((1, 1, 1), 1), ((1, 1, 1), 2), ((1, 1, 1), 3)], ids=str
)
def test_nor_does_one_of_more_jobs_when_nobody_cancels_and_there_is_no_deadline(sizes, workers):
    assert explore(Protocol(WHOLE, UNDISTURBED), _start(sizes, workers)) > 1_000


LOST = "a worker wrote to a job that it had lost"
STUCK = "a question never gets its result"
WITHOUT = {
    "latest_attempt": LOST,
    "running_only": LOST,
    "queued_only": "a job was claimed that is not queued",
    "live_batch": "a job of a stopped batch was started",
    "before_deadline": "a job was started after its deadline",
    "late_is_expired": "a question was answered after its deadline",
    "ended_leases_only": "a live lease was taken back",
    "leases_end": STUCK,
    "send_unsent": STUCK,
    "send_lost": STUCK,
    "end_stopped": STUCK,
    "retry_of_live": "a batch has ended with a job that has not",
    "close_under_lock": "a batch has ended with a job that has not",
    "close_when_ended": "a batch has ended with a job that has not",
}


@pytest.mark.parametrize("rule", WITHOUT)
def test_each_rule_is_needed(rule):
    broken_rule = WITHOUT[rule]
    rules = replace(WHOLE, **{rule: False})
    with pytest.raises(Broken, match=broken_rule):
        explore(Protocol(rules), _start((1, 1), 2))
