"""Faults of a replica."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.domain.replica import ReplicaState, ReplicaStatus
from tests.factories import NOW, later
from worker.monitoring.health_check import check_replica

STALL = timedelta(seconds=120)


def status(**values):
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


def check(waiting=None, **values):
    return check_replica(status(**values), waiting, NOW, STALL)


@pytest.mark.parametrize(
    ("waiting", "values"),
    [
        (None, {"progress_at": later(-3_000)}),  # no job waits
        (later(-3_000), {"job_id": 5}),  # a long backlog, and progress
        (later(-60), {"progress_at": later(-3_000)}),  # a job arrived a moment ago
        (later(-3_000), {"progress_at": later(-60)}),  # idle for a moment
        (None, {"job_id": 5, "progress_at": later(-100)}),  # a slow pass
    ],
)
def test_a_replica_with_progress_is_healthy(waiting, values):
    assert check(waiting, **values) is None


@pytest.mark.parametrize(
    ("fault", "waiting", "values"),
    [
        ("box/7/0 sent its last heartbeat 31 s ago", None, {"seen_at": later(-31)}),
        (
            "box/7/0 claims no jobs: 5 attempts in a row failed",
            None,
            {"state": ReplicaState.PAUSED, "failures": 5},
        ),
        (
            "box/7/0 made no progress with job 5 for 130 s",
            None,
            {"job_id": 5, "progress_at": later(-130)},
        ),
        (
            "box/7/0 has had no job for 200 s, but a job waits for 150 s",
            later(-150),
            {"progress_at": later(-200)},
        ),
    ],
)
def test_a_fault_is_described(fault, waiting, values):
    assert check(waiting, **values) == fault
