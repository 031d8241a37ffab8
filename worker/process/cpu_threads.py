"""How many threads the arithmetic gets, and how they wait for each other.

The CPU budget is what the process may use: its affinity, and a cgroup's quota, rounded up. All
replicas together get no more threads than that, or one each.

Set before numpy and torch are imported: OpenBLAS and OpenMP read the environment once. Waiting
threads sleep instead of spinning: on cores that are shared with Redis, the database and a
producer, spinning ones keep each other from the core (docs/log.md).
"""

from __future__ import annotations

import os

from celery.utils.sysinfo import cpu_budget

_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def per_replica(replicas: int = 1) -> int:
    """Return how many threads each of so many replicas gets, of all on this machine."""
    return max(1, int(cpu_budget().count) // replicas)


def set_thread_limits(wanted: int = 0, replicas: int = 1) -> int:
    """Give each replica so many threads, 0: its share of the CPU budget; return how many."""
    threads = wanted or per_replica(replicas)
    for name in _POOLS:
        os.environ[name] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's own products are small, and its threads can't be told to sleep.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return threads
