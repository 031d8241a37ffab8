"""CPU threads for computation: how many, and how they wait.

The CPU budget of a process is its affinity and the quota of its cgroup, rounded up. All
replicas together get no more threads than the budget, but each gets at least one.

Call `set_thread_limits` before numpy or torch is imported, because OpenBLAS and OpenMP read
the environment once. Waiting threads sleep instead of spinning. On cores shared with Redis,
the database and a producer, spinning threads delay the others (docs/log.md).
"""

from __future__ import annotations

import os

from celery.utils.sysinfo import cpu_budget

_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def per_replica(replicas: int = 1) -> int:
    """Return the number of threads for each of `replicas` processes."""
    return max(1, int(cpu_budget().count) // replicas)


def set_thread_limits(threads: int = 0, replicas: int = 1) -> int:
    """Limit the threads of each replica, and return the limit.

    Args:
        threads: the limit; 0: the replica's share of the CPU budget.
        replicas: the number of replicas that share the CPU budget.
    """
    limit = threads or per_replica(replicas)
    for name in _POOLS:
        os.environ[name] = str(limit)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's matrix products are small, and no setting makes OpenBLAS threads sleep.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return limit
