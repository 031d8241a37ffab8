"""What makes a worker's health red."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.domain.replica import ReplicaState, ReplicaStatus
from tests.factories import NOW, later
from worker.monitoring.health_check import check_replica

STALL = timedelta(seconds=120)


def worker(**values):
    filled = {
        "name": "box/7/0",
        "host": "box",
        "lanes": "interactive,bulk",
        "state": ReplicaState.READY,
        "job_id": None,
        "model_version": "shop@1",
        "failures": 0,
        "started_at": later(-3_600),
        "seen_at": later(-2),
        "progress_at": later(-2),
    }
    return ReplicaStatus(**{**filled, **values})


def judged(waiting=None, **values):
    return check_replica(worker(**values), waiting, NOW, STALL)


@pytest.mark.parametrize(
    ("waiting", "values"),
    [
        (None, {"progress_at": later(-3_000)}),  # nothing to do
        (later(-3_000), {"job_id": 5}),  # a long backlog, and it gets on
        (later(-60), {"progress_at": later(-3_000)}),  # work came just now
        (later(-3_000), {"progress_at": later(-60)}),  # it has paused for a moment
        (None, {"job_id": 5, "progress_at": later(-100)}),  # a slow pass
    ],
)
def test_a_worker_that_gets_on_is_healthy(waiting, values):
    assert judged(waiting, **values) is None


@pytest.mark.parametrize(
    ("told", "waiting", "values"),
    [
        ("box/7/0 was last heard of 31 s ago", None, {"seen_at": later(-31)}),
        (
            "box/7/0 takes no work: 5 attempts in a row failed",
            None,
            {"state": ReplicaState.PAUSED, "failures": 5},
        ),
        (
            "box/7/0 has been at job 5 for 130 s without a pass",
            None,
            {"job_id": 5, "progress_at": later(-130)},
        ),
        (
            "box/7/0 has had no job for 200 s, and one waits for 150 s",
            later(-150),
            {"progress_at": later(-200)},
        ),
    ],
)
def test_a_worker_that_does_not_get_on_is_told_why(told, waiting, values):
    assert judged(waiting, **values) == told
