from __future__ import annotations

from pathlib import Path

import pytest

from core.settings import load
from stack.local import supervisor
from stack.local.supervisor import worker_service


@pytest.mark.parametrize(
    ("settled", "workers", "given"),
    [({}, 2, 3), ({"replicas": 3}, 2, 1), ({}, 9, 1), ({"threads": 4}, 2, 4)],
)
def test_workers_share_the_cpu_budget_unless_threads_are_set(
    monkeypatch: pytest.MonkeyPatch, settled: dict[str, int], workers: int, given: int
):
    monkeypatch.setattr(
        "worker.process.cpu_threads.cpu_budget", lambda: type("Budget", (), {"count": 6})
    )
    assert supervisor._threads(load.load(**settled), workers) == given


def test_a_worker_takes_its_threads_and_its_model_from_the_stack(home: Path):
    settings = load.load(home=home, threads=3)
    environment = worker_service(settings, 1, "shop")._environment
    assert (environment["ANSWERMILL_THREADS"], environment["ANSWERMILL_MODEL"]) == ("3", "shop")
    assert "ANSWERMILL_MODEL" not in worker_service(settings, 1, None)._environment
