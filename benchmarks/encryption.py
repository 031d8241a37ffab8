"""Cost of encrypting texts in the database.

Measures, in turns on the same PostgreSQL with fsync, without and with encryption: storing questions
in slices as `submit` does, reading them as a worker does, storing their results and reading the
results by cursor. Reports the time of the clock and the processor time of this process. The time of
PostgreSQL itself is in the clock's only. One process, no model, no Redis. Favors us: the texts are
as short as the sample's. Longer texts cost more, in proportion to their length.

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

TEXT = "Hello, I ordered a blue jacket last week and it still shows processing, number {}, why?"
ANSWER = 'Open "My orders" in your account and tap the order to see its live tracking. {}'
SLICE, JOB = 4_096, 128
NOW = datetime.now(UTC)

Figures = dict[str, tuple[float, float]]  # by step: questions/s, processor µs a question


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=40_960)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with _mill.services() as settings:
        os.environ["ANSWERMILL_ENCRYPTION_KEYS"] = encryption.new_key()
        engines = {"plain": open_engine(settings), "encrypted": open_engine(load())}
        rounds: dict[str, list[Figures]] = {name: [] for name in engines}
        for number in range(options.rounds + 1):  # the first round warms up
            for name, engine in engines.items():
                figures = one_round(engine, f"{name}-{number}", options.questions)
                rounds[name] += [figures] if number else []
        for engine in engines.values():
            engine.dispose()
    report(options, rounds)


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
        batch_slice = [Question(n, str(n), TEXT.format(n)) for n in range(first, last)]
        with transaction(engine) as conn:
            questions.append(conn, batch, batch_slice, job_size=JOB, sent=True, now=NOW)


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
            claimed = claims.claim_next(
                conn, Lane.BULK, max_questions=JOB, limit=8, owner="bench", lease=lease, now=NOW
            )
            if not claimed:
                return
            finished = [(job, [answered(n) for n in positions(job)]) for job in claimed]
            jobs.finish_all(conn, finished, now=NOW)


def positions(job: Job) -> range:
    return range(job.first_position, job.last_position + 1)


def answered(position: int) -> Result:
    answer = Answer(Status.ANSWERED, ANSWER.format(position), "track", "Where is it?", 0.9)
    return Result(position, str(position), answer, "bench@1", NOW)


def read_results(engine: sa.Engine, batch: Batch) -> None:
    after = 0
    while True:
        with reading(engine) as conn:
            rows = results.page(conn, batch.id, after=after, limit=1_000)
        if not rows:
            return
        after = rows[-1].cursor


def report(options: argparse.Namespace, rounds: dict[str, list[Figures]]) -> None:
    rows, figures = [], {}
    for step in rounds["plain"][0]:
        medians = {
            name: [statistics.median(turn[step][i] for turn in turns) for i in (0, 1)]
            for name, turns in rounds.items()
        }
        (plain, plain_cost), (encrypted, encrypted_cost) = medians["plain"], medians["encrypted"]
        ratio = f"{encrypted / plain:.2f}"
        rows.append([step, plain, encrypted, ratio, plain_cost, encrypted_cost])
        key = step.replace(" ", "_")
        figures |= {f"{key}_plain": round(plain), f"{key}_encrypted": round(encrypted)}
        figures |= {
            f"{key}_processor_plain": round(plain_cost, 1),
            f"{key}_processor_encrypted": round(encrypted_cost, 1),
        }
    head = ["step", "plain, /s", "encrypted, /s", "ratio", "plain, µs each", "encrypted, µs each"]
    _mill.print_table(f"{options.questions:,} questions, median of {options.rounds}", head, rows)
    _mill.print_json("encryption", questions=options.questions, rounds=options.rounds, **figures)


if __name__ == "__main__":
    main()
