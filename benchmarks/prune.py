"""Cost of pruning a million questions, and its effect on workers.

Measures, on each database: the time of `db prune` for finished batches of 100,000 questions, and
the time of a worker's claim and store of a job of 128, before `db prune` and while it runs. A
producer adds a slice whenever none is left. Against us: everything shares two cores. Favors us: the
rows are in memory.

    python benchmarks/prune.py [--questions 1000000] [--seconds 20] [--databases postgresql sqlite]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import _mill
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane, Question
from core.domain.job import JobState
from core.domain.result import Answer, Result, Status
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import batches, claims, jobs, results
from db.queries.questions import append
from db.session import transaction
from db.tables import batches as b
from db.tables import jobs as j

JOB, SLICE, BATCH = 128, 4096, 100_000
PASS_SECONDS = 0.02  # of a fast model for a job
LEASE = timedelta(hours=1)
ANSWER = Answer(Status.ANSWERED, answer="Open “My orders” and choose the parcel.", confidence=0.97)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--databases", nargs="+", default=["postgresql", "sqlite"])
    options = parser.parse_args()
    figures = {}
    for kind in options.databases:
        with _mill.services(kind) as settings:
            figures[kind] = measure(settings, options.questions, options.seconds)
    report(figures)


def measure(settings: Settings, questions: int, seconds: float) -> dict[str, float]:
    """Return the times by name.

    They are milliseconds, except for "prune seconds".
    """
    engine = open_engine(settings)
    clock = DatabaseClock(engine)
    for number in range(questions // BATCH):
        fill(engine, clock, f"old-{number}")
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(sa.text("VACUUM ANALYZE"))
    deadline = time.monotonic() + seconds
    before = work(engine, clock, "before", lambda: time.monotonic() < deadline)
    command = [sys.executable, "-m", "stack", "db", "prune", "--older-than", "1d"]
    started = time.perf_counter()
    pruning = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    during = work(engine, clock, "during", lambda: pruning.poll() is None)
    took = time.perf_counter() - started
    if pruning.returncode:
        sys.exit(f"`db prune` failed with exit status {pruning.returncode}")
    engine.dispose()
    figures = {"prune seconds": took}
    for when, times in (("before", before), ("during", during)):
        for name, milliseconds in times.items():
            cuts = statistics.quantiles(milliseconds, n=100)
            figures[f"{name} p50 {when}"], figures[f"{name} p99 {when}"] = cuts[49], cuts[98]
    return figures


def fill(engine: sa.Engine, clock: DatabaseClock, name: str) -> None:
    """Store a batch that finished two days ago."""
    now = clock() - timedelta(days=2)
    values = {"idempotency_key": name, "lane": Lane.BULK, "source": "prune", "now": now}
    with transaction(engine) as conn:
        batch = batches.create(conn, name=name, **values)
    for questions in slices(BATCH):
        with transaction(engine) as conn:
            append(conn, batch, questions, job_size=JOB, sent=True, now=now)
            rows = [Result(q.position, q.key, ANSWER, "prune@1", now) for q in questions]
            results.insert(conn, [(batch.id, row) for row in rows])
    with transaction(engine) as conn:
        ended = {"state": JobState.DONE, "finished_at": now, "attempt": 1, "answered": JOB}
        conn.execute(j.update().where(j.c.batch_id == batch.id).values(ended))
        done = {"state": BatchState.DONE, "finished_at": now}
        conn.execute(b.update().where(b.c.id == batch.id).values(done))


def slices(count: int) -> Iterator[list[Question]]:
    for first in range(1, count + 1, SLICE):
        last = min(first + SLICE - 1, count)
        yield [
            Question(n, f"ticket-{n}", f"Hello, I ordered a blue jacket last week, number {n}")
            for n in range(first, last + 1)
        ]


def work(
    engine: sa.Engine, clock: DatabaseClock, name: str, running: Callable[[], bool]
) -> dict[str, list[float]]:
    """Claim and store jobs, and add a slice when none is left.

    Returns the milliseconds of each step.
    """
    values = {"idempotency_key": name, "lane": Lane.BULK, "source": "prune", "now": clock()}
    with transaction(engine) as conn:
        batch = batches.create(conn, name=name, **values)
    times: dict[str, list[float]] = {"claim": [], "store": [], "submit a slice": []}
    unsent = slices(100 * BATCH)
    while running():
        with timed(times["submit a slice"]), transaction(engine) as conn:
            added = append(conn, batch, next(unsent), job_size=JOB, sent=True, now=clock())
        for message in added:
            with timed(times["claim"]), transaction(engine) as conn:
                rules = {"owner": "prune", "lease": LEASE, "now": clock()}
                job = claims.claim_job(conn, message.job, **rules)
                texts = results.of_jobs(conn, [job])[0]
            time.sleep(PASS_SECONDS)
            with timed(times["store"]), transaction(engine) as conn:
                rows = [Result(at, key, ANSWER, "prune@1", clock()) for at, key, _ in texts]
                jobs.finish(conn, job, rows, now=clock())
    return times


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the milliseconds of the block to a list."""
    started = time.perf_counter()
    yield
    into.append((time.perf_counter() - started) * 1000)


def report(databases: dict[str, dict[str, float]]) -> None:
    names = next(iter(databases.values()))
    rows = [[name, *(f"{figures[name]:.1f}" for figures in databases.values())] for name in names]
    _mill.print_table("milliseconds, unless stated", ["step", *databases], rows)
    rounded = {
        kind: {name: round(value, 2) for name, value in figures.items()}
        for kind, figures in databases.items()
    }
    _mill.print_json("prune", **rounded)


if __name__ == "__main__":
    main()
