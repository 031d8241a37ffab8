"""Cost of claim, status and poll as the tables grow.

Is it the same after ten million questions as after ten thousand?
Measures, on PostgreSQL: storing a slice of questions, claiming and reading the next job,
counting where a batch of 100,000 questions stands, and polling a page of a thousand
results, while the tables hold more and more finished questions of other batches. The
finished ones are written by SQL, in jobs of 128 as `submit` cuts them, and analyzed as the
autovacuum would. Favors us: what is measured lies in memory, and nothing else runs.

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
from core.domain.result import Answer, Result, Status
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import batches, claims, jobs, questions, results
from db.session import reading, transaction

JOB, SLICE, BATCH = 128, 4096, 100_000
LEASE = timedelta(hours=1)

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
)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=200)
    options = parser.parse_args()
    found = {}
    with _mill.surroundings() as settings:
        engine = open_engine(settings)
        clock = DatabaseClock(engine)
        there = 0
        for size in options.sizes:
            fill(engine, clock, size - there)
            there = size
            found[size] = measure(engine, clock, size, options.repeat)
        engine.dispose()
    tell(found)


def fill(engine: sa.Engine, clock: DatabaseClock, count: int) -> None:
    with transaction(engine) as conn:
        batch = create(conn, clock, f"fill-{count}")
        for statement in _FILL:
            conn.execute(sa.text(statement), {"b": batch.id, "n": count})
        done = {"b": batch.id, "n": count}
        conn.execute(
            sa.text(
                "UPDATE batches SET state = 'done', question_count = :n, finished_at = now()"
                " WHERE id = :b"
            ),
            done,
        )
    analyse(engine)


def analyse(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("VACUUM ANALYZE"))


def create(conn: sa.Connection, clock: DatabaseClock, name: str) -> Batch:
    return batches.create(
        conn, name=name, idempotency_key=name, lane=Lane.BULK, source="growth", now=clock()
    )


def measure(engine: sa.Engine, clock: DatabaseClock, size: int, repeat: int) -> dict[str, float]:
    """Return the median milliseconds of each statement.

    A batch of its own is running.
    """
    with transaction(engine) as conn:
        batch = create(conn, clock, f"work-{size}")
    slices = iter(range(1, BATCH, SLICE))
    answer = Answer(Status.ANSWERED, answer="Open “My orders”.", confidence=0.97)

    def submit() -> None:
        first = next(slices)
        asked = [Question(n, f"k{n}", f"Where is {n}?") for n in range(first, first + SLICE)]
        with transaction(engine) as conn:
            questions.append(conn, batch, asked, job_size=JOB, sent=True, now=clock())

    def claim() -> None:
        with transaction(engine) as conn:
            now, lane = clock(), Lane.BULK
            rules = {"owner": "growth", "lease": LEASE, "now": now}
            (job,) = claims.claim_next(conn, lane, max_questions=JOB, limit=1, **rules)
            claimed.append((job, results.of_jobs(conn, [job])[0]))

    def store() -> None:
        job, asked = claimed.pop()
        with transaction(engine) as conn:
            rows = [Result(at, key, answer, "growth@1", clock()) for at, key, _ in asked]
            jobs.finish(conn, job, rows, now=clock())

    def status() -> None:
        with reading(engine) as conn:
            batches.progress(conn, batch.id, clock())

    def poll() -> None:
        with reading(engine) as conn:
            results.page(conn, batch.id, limit=1000)

    claimed: list[tuple[jobs.Job, list[tuple[int, str, str]]]] = []
    count = BATCH // SLICE
    found = {"submit": timed(submit, count)}
    found["claim and read"] = timed(claim, repeat)
    found["store"] = timed(store, repeat)
    found["status"] = timed(status, repeat)
    found["poll"] = timed(poll, repeat // 4)
    return found


def timed(work: Callable[[], None], repeat: int) -> float:
    took = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def tell(found: dict[int, dict[str, float]]) -> None:
    smallest, largest = min(found), max(found)
    growth = {
        name: round(found[largest][name] / value, 2) for name, value in found[smallest].items()
    }
    rows = [
        [name, *(f"{figures[name]:.2f}" for figures in found.values()), f"{ratio:.2f}"]
        for name, ratio in growth.items()
    ]
    head = ["median ms", *(f"{size:,}" for size in found), "growth"]
    _mill.tell("after so many finished questions", head, rows)
    _mill.tell_json(
        "growth",
        sizes=list(found),
        milliseconds={name: [round(f[name], 3) for f in found.values()] for name in growth},
        growth=growth,
    )


if __name__ == "__main__":
    main()
