from __future__ import annotations

import os

import pytest

from worker import threads


@pytest.fixture(autouse=True)
def _put_back(monkeypatch):
    for name in (*threads._POOLS, "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("wanted", "replicas", "given"), [(0, 1, 6), (0, 2, 3), (0, 4, 1), (0, 9, 1), (5, 9, 5)]
)
def test_replicas_share_the_cpu_budget_unless_told(monkeypatch, wanted, replicas, given):
    monkeypatch.setattr(threads, "cpu_budget", lambda: type("Budget", (), {"count": 6}))
    assert threads.limit(wanted, replicas) == given
    assert os.environ["OMP_NUM_THREADS"] == str(given)


def test_waiting_threads_sleep_unless_somebody_says_otherwise(monkeypatch):
    threads.limit()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads.limit()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
