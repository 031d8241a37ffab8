"""Cost of claim, status and poll as the tables grow.

Measures, on PostgreSQL: storing a slice of questions, claiming and reading the next job, counting
the states of a batch of 100,000 questions, and polling a page of a thousand results. Meanwhile the
tables hold more and more finished questions of other batches. SQL writes the finished questions, in
jobs of 128 as `submit` does, and analyzes them as the autovacuum would. Favors us: the measured
rows are in memory, and nothing else runs.

    python benchmarks/growth.py [--sizes 10000 100000 1000000] [--repeat 200]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import _mill
import sqlalchemy as sa

from core.domain.batch import Batch, Lane, Question
from core.domain.job import Job
from core.domain.result import Answer, Result, Status
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import batches, claims, jobs, questions, results
from db.session import reading, transaction

JOB, SLICE, BATCH = 128, 4096, 100_000
LEASE = timedelta(hours=1)
ANSWER = Answer(Status.ANSWERED, answer="Open “My orders”.", confidence=0.97)

_FILL = (
    """INSERT INTO questions (batch_id, position, key, text)
       SELECT :b, n, 'k' || n, 'Hello, I ordered a blue jacket last week, number ' || n
       FROM generate_series(1, :n) AS n""",
    """INSERT INTO result_rows
         (batch_id, position, key, status, answer, confidence, answered_at, cursor)
       SELECT :b, n, 'k' || n, 'answered', 'Open “My orders” and choose the parcel.', 0.97, now(),
              (pg_current_xact_id()::text::bigint << 20) + n % 1000000
       FROM generate_series(1, :n) AS n""",
    """INSERT INTO jobs
         (batch_id, lane, state, first_position, last_position, attempt, answered, created_at,
          finished_at)
       SELECT :b, 'bulk', 'done', n, least(n + 127, :n), 1, least(128, :n - n + 1), now(), now()
       FROM generate_series(1, :n, 128) AS n""",
    """UPDATE batches SET state = 'done', question_count = :n, finished_at = now()
       WHERE id = :b""",
)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=200)
    options = parser.parse_args()
    medians = {}
    with _mill.services() as settings:
        engine = open_engine(settings)
        clock = DatabaseClock(engine)
        stored = 0
        for size in options.sizes:
            fill(engine, clock, size - stored)
            stored = size
            medians[size] = measure(engine, clock, size, options.repeat)
        engine.dispose()
    report(medians)


def fill(engine: sa.Engine, clock: DatabaseClock, count: int) -> None:
    with transaction(engine) as conn:
        batch = create(conn, clock, f"fill-{count}")
        for statement in _FILL:
            conn.execute(sa.text(statement), {"b": batch.id, "n": count})
    analyze(engine)


def analyze(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("VACUUM ANALYZE"))


def create(conn: sa.Connection, clock: DatabaseClock, name: str) -> Batch:
    return batches.create(
        conn, name=name, idempotency_key=name, lane=Lane.BULK, source="growth", now=clock()
    )


def measure(engine: sa.Engine, clock: DatabaseClock, size: int, repeat: int) -> dict[str, float]:
    """Return the median milliseconds of each statement, on a new batch."""
    with transaction(engine) as conn:
        steps = Steps(engine, clock, create(conn, clock, f"work-{size}"))
    return {
        "submit": timed(steps.submit, BATCH // SLICE),
        "claim and read": timed(steps.claim, repeat),
        "store": timed(steps.store, repeat),
        "status": timed(steps.status, repeat),
        "poll": timed(steps.poll, repeat // 4),
    }


class Steps:
    """The measured statements, on one batch."""

    def __init__(self, engine: sa.Engine, clock: DatabaseClock, batch: Batch) -> None:
        self.engine, self.clock, self.batch = engine, clock, batch
        self.slices = iter(range(1, BATCH, SLICE))
        self.claimed: list[tuple[Job, list[tuple[int, str, str]]]] = []

    def submit(self) -> None:
        """Store the next slice of questions."""
        first = next(self.slices)
        added = [Question(n, f"k{n}", f"Where is {n}?") for n in range(first, first + SLICE)]
        with transaction(self.engine) as conn:
            questions.append(conn, self.batch, added, job_size=JOB, sent=True, now=self.clock())

    def claim(self) -> None:
        """Claim the next job and read its questions."""
        with transaction(self.engine) as conn:
            rules = {"owner": "growth", "lease": LEASE, "now": self.clock()}
            (job,) = claims.claim_next(conn, Lane.BULK, max_questions=JOB, limit=1, **rules)
            self.claimed.append((job, results.of_jobs(conn, [job])[0]))

    def store(self) -> None:
        """Store the results of a claimed job."""
        job, texts = self.claimed.pop()
        with transaction(self.engine) as conn:
            rows = [Result(at, key, ANSWER, "growth@1", self.clock()) for at, key, _ in texts]
            jobs.finish(conn, job, rows, now=self.clock())

    def status(self) -> None:
        """Count the states of the batch."""
        with reading(self.engine) as conn:
            batches.progress(conn, self.batch.id, self.clock())

    def poll(self) -> None:
        """Read a page of results."""
        with reading(self.engine) as conn:
            results.page(conn, self.batch.id, limit=1000)


def timed(work: Callable[[], None], repeat: int) -> float:
    milliseconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - started) * 1000)
    return statistics.median(milliseconds)


def report(medians: dict[int, dict[str, float]]) -> None:
    smallest, largest = min(medians), max(medians)
    growth = {
        name: round(medians[largest][name] / value, 2) for name, value in medians[smallest].items()
    }
    rows = [
        [name, *(f"{figures[name]:.2f}" for figures in medians.values()), f"{ratio:.2f}"]
        for name, ratio in growth.items()
    ]
    head = ["median ms", *(f"{size:,}" for size in medians), "growth"]
    _mill.print_table("by number of finished questions", head, rows)
    _mill.print_json(
        "growth",
        sizes=list(medians),
        milliseconds={
            name: [round(figures[name], 3) for figures in medians.values()] for name in growth
        },
        growth=growth,
    )


if __name__ == "__main__":
    main()
