"""What does encrypting texts in the database cost?

Measures, side by side and in turns on the same PostgreSQL with fsync, plain and encrypted:
storing questions in slices as `submit` does, reading them as a worker does, storing their
results and reading these behind a cursor. By the clock and by this process's processor time;
PostgreSQL's own is in the clock's alone. One process, no model, no Redis. Favours us: texts are
short, as the sample's are; longer ones cost more by their length.

    python benchmarks/encryption.py [--questions 40960] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import _mill
import sqlalchemy as sa

from core import encryption
from core.domain.batch import Batch, Lane, Question
from core.domain.job import Job
from core.domain.result import Answer, Result, Status
from core.settings.load import load
from db.engine import open_engine
from db.queries import batches, claims, jobs, questions, results
from db.session import reading, transaction

TEXT = "Hello, I ordered a blue jacket last week and it still says processing, number {}, why?"
ANSWER = 'Open "My orders" in your account and tap the order to see its live tracking. {}'
SLICE, JOB = 4_096, 128
NOW = datetime.now(UTC)

Figures = dict[str, tuple[float, float]]  # of each step: questions/s, processor µs a question


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=40_960)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with _mill.surroundings() as settings:
        os.environ["ANSWERMILL_ENCRYPTION_KEYS"] = encryption.new_key()
        engines = {"plain": open_engine(settings), "encrypted": open_engine(load())}
        found: dict[str, list[Figures]] = {name: [] for name in engines}
        for number in range(options.rounds + 1):  # the first one warms up
            for name, engine in engines.items():
                measured = one_round(engine, f"{name}-{number}", options.questions)
                found[name] += [measured] if number else []
        for engine in engines.values():
            engine.dispose()
    tell(options, found)


def one_round(engine: sa.Engine, name: str, count: int) -> Figures:
    with transaction(engine) as conn:
        values = {"idempotency_key": name, "lane": Lane.BULK, "source": name}
        batch = batches.create(conn, name=name, now=NOW, **values)
    return {
        "store questions": measured(count, lambda: store_questions(engine, batch, count)),
        "read questions": measured(count, lambda: read_questions(engine, batch)),
        "store results": measured(count, lambda: store_results(engine)),
        "read results": measured(count, lambda: read_results(engine, batch)),
    }


def measured(count: int, work: Callable[[], Any]) -> tuple[float, float]:
    started, used = time.perf_counter(), time.process_time()
    work()
    used = time.process_time() - used
    return count / (time.perf_counter() - started), used / count * 1e6


def store_questions(engine: sa.Engine, batch: Batch, count: int) -> None:
    for first in range(1, count + 1, SLICE):
        last = min(first + SLICE, count + 1)
        asked = [Question(n, str(n), TEXT.format(n)) for n in range(first, last)]
        with transaction(engine) as conn:
            questions.append(conn, batch, asked, job_size=JOB, sent=True, now=NOW)


def read_questions(engine: sa.Engine, batch: Batch) -> None:
    after = 0
    while True:
        with reading(engine) as conn:
            rows = results.texts(conn, batch.id, after=after, limit=SLICE)
        if not rows:
            return
        after = rows[-1][0]


def store_results(engine: sa.Engine) -> None:
    lease = timedelta(hours=1)
    while True:
        with transaction(engine) as conn:
            taken = claims.claim_next(
                conn, Lane.BULK, max_questions=JOB, limit=8, owner="bench", lease=lease, now=NOW
            )
            if not taken:
                return
            work = [(job, [answered(n) for n in positions(job)]) for job in taken]
            jobs.finish_all(conn, work, now=NOW)


def positions(job: Job) -> range:
    return range(job.first_position, job.last_position + 1)


def answered(position: int) -> Result:
    said = Answer(Status.ANSWERED, ANSWER.format(position), "track", "Where is it?", 0.9)
    return Result(position, str(position), said, "bench@1", NOW)


def read_results(engine: sa.Engine, batch: Batch) -> None:
    after = 0
    while True:
        with reading(engine) as conn:
            rows = results.page(conn, batch.id, after=after, limit=1_000)
        if not rows:
            return
        after = rows[-1].cursor


def tell(options: argparse.Namespace, found: dict[str, list[Figures]]) -> None:
    rows, figures = [], {}
    for step in found["plain"][0]:
        told = {
            name: [statistics.median(one[step][i] for one in rounds) for i in (0, 1)]
            for name, rounds in found.items()
        }
        (plain, plain_cost), (sealed, sealed_cost) = told["plain"], told["encrypted"]
        rows.append([step, plain, sealed, f"{sealed / plain:.2f}", plain_cost, sealed_cost])
        key = step.replace(" ", "_")
        figures |= {f"{key}_plain": round(plain), f"{key}_encrypted": round(sealed)}
        figures |= {
            f"{key}_processor_plain": round(plain_cost, 1),
            f"{key}_processor_encrypted": round(sealed_cost, 1),
        }
    head = ["", "plain, /s", "encrypted, /s", "ratio", "plain, µs each", "encrypted, µs each"]
    _mill.tell(f"{options.questions:,} questions, median of {options.rounds}", head, rows)
    _mill.tell_json("encryption", questions=options.questions, rounds=options.rounds, **figures)


if __name__ == "__main__":
    main()
