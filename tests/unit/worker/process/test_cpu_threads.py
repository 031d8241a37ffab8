from __future__ import annotations

import os
import subprocess
import sys

import pytest
from celery.utils import sysinfo

from worker.process import cpu_threads


@pytest.fixture(autouse=True)
def _restore_environment(monkeypatch):
    for name in (*cpu_threads._POOLS, "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("threads", "replicas", "limit"), [(0, 1, 6), (0, 2, 3), (0, 4, 1), (0, 9, 1), (5, 9, 5)]
)
def test_replicas_share_the_cpu_budget_unless_a_limit_is_set(monkeypatch, threads, replicas, limit):
    monkeypatch.setattr(cpu_threads, "cpu_budget", lambda: type("Budget", (), {"count": 6}))
    assert cpu_threads.set_thread_limits(threads, replicas) == limit
    assert os.environ["OMP_NUM_THREADS"] == str(limit)


def budget_of(monkeypatch, tmp_path, quotas: dict[str, str], available: int = 8) -> int:
    """Put the process into the group /shop/worker, with quotas by group; return its budget."""
    (tmp_path / "cgroup").write_text("0::/shop/worker\n", encoding="utf-8")
    (tmp_path / "shop" / "worker").mkdir(parents=True)
    for group, quota in quotas.items():
        (tmp_path / group / "cpu.max").write_text(f"{quota}\n", encoding="utf-8")
    monkeypatch.setattr(sysinfo, "CGROUP_ROOT", str(tmp_path))
    monkeypatch.setattr(sysinfo, "PROC_SELF_CGROUP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(sysinfo, "available_cpu_count", lambda: available)
    return cpu_threads.per_replica()


@pytest.mark.parametrize(
    ("quotas", "budget"),
    [
        ({}, 8),
        ({"shop/worker": "max 100000"}, 8),
        ({"shop/worker": "300000 100000"}, 3),
        ({"shop/worker": "150000 100000"}, 2),
        ({"shop/worker": "50000 100000"}, 1),
        ({"shop/worker": "900000 100000"}, 8),
        ({"shop/worker": "max 100000", "shop": "200000 100000"}, 2),
    ],
)
def test_the_budget_is_the_quota_of_the_cgroup(monkeypatch, tmp_path, quotas, budget):
    assert budget_of(monkeypatch, tmp_path, quotas) == budget


@pytest.mark.parametrize("replicas", range(1, 12))
def test_all_replicas_together_get_no_more_than_the_budget(monkeypatch, tmp_path, replicas):
    budget_of(monkeypatch, tmp_path, {"shop/worker": "500000 100000"})
    assert cpu_threads.per_replica(replicas) * replicas <= max(5, replicas)


def test_waiting_threads_sleep_unless_the_environment_disagrees(monkeypatch):
    cpu_threads.set_thread_limits()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cpu_threads.set_thread_limits()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_workers_parent_imports_neither_numpy_nor_torch():
    code = (
        "import sys\n"
        "import worker.process.parent\n"
        "import worker.cli\n"
        "sys.exit(sorted({'numpy', 'scipy', 'torch', 'onnxruntime'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
