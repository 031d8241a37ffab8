"""Factories that fill every default, so that a test shows only what matters to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch, Lane, Question
from core.domain.job import Job, JobState
from core.domain.model_version import ModelVersion
from core.domain.result import Answer, Result, Status
from db.queries import batches, claims, job_failures, jobs, model_versions, results
from db.queries.questions import append
from db.session import reading, transaction
from db.tables import jobs as j

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def later(seconds: float) -> datetime:
    """Return the time that many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def question(position: int = 1, text: str = "Where is my parcel?", **values: Any) -> Question:
    """Return a question."""
    return Question(**{"position": position, "key": f"ticket-{position}", "text": text, **values})


def questions(count: int, first: int = 1) -> list[Question]:
    """Return that many questions with consecutive positions."""
    return [question(position) for position in range(first, first + count)]


def answer(status: Status = Status.ANSWERED, **values: Any) -> Answer:
    """Return an answer that fits the status."""
    fitting: dict[Status, dict[str, Any]] = {
        Status.ANSWERED: {
            "answer": "On its way.",
            "entry_id": "parcel",
            "matched": "parcel?",
            "confidence": 0.9,
        },
        Status.HANDED_OFF: {"reason": "nothing fits", "confidence": 0.1},
        Status.FAILED: {"error": "the model raised"},
    }
    return Answer(status, **{**fitting.get(status, {}), **values})


def result(position: int = 1, status: Status = Status.ANSWERED, **values: Any) -> Result:
    """Return a question's result."""
    filled = {
        "key": f"ticket-{position}",
        "answer": answer(status),
        "model_version": "shop@1",
        "answered_at": NOW,
    }
    return Result(position=position, **{**filled, **values})


def open_batch(engine: sa.Engine, name: str = "tickets", **values: Any) -> Batch:
    """Store a batch that takes questions."""
    filled = {
        "idempotency_key": "key",
        "lane": Lane.BULK,
        "source": "tickets.csv",
        "now": NOW,
        **values,
    }
    with transaction(engine) as conn:
        return batches.create(conn, name=name, **filled)


def stored_batch(
    engine: sa.Engine,
    asked: int | Sequence[Question] = 4,
    *,
    job_size: int = 2,
    sent: bool = True,
    now: datetime = NOW,
    **values: Any,
) -> Batch:
    """Store a sealed batch of `asked` questions: a number, or the questions themselves."""
    batch = open_batch(engine, now=now, **values)
    asked = questions(asked) if isinstance(asked, int) else asked
    with transaction(engine) as conn:
        append(conn, batch, asked, job_size=job_size, sent=sent, now=now)
        batches.seal(conn, batch, now)
        return batches.find(conn, str(batch.id))


def job_rows(engine: sa.Engine, batch: Batch) -> list[sa.Row[Any]]:
    """Return the rows of the batch's jobs, oldest first."""
    with reading(engine) as conn:
        return list(conn.execute(sa.select(j).where(j.c.batch_id == batch.id).order_by(j.c.id)))


def queued_ids(engine: sa.Engine, batch: Batch) -> list[int]:
    """Return the ids of the batch's queued jobs, oldest first."""
    return [row.id for row in job_rows(engine, batch) if row.state == JobState.QUEUED]


def claimed(
    engine: sa.Engine, job_id: int, *, owner: str = "worker-1", now: datetime = NOW
) -> Job | None:
    """Claim a job."""
    with transaction(engine) as conn:
        return claims.claim_job(conn, job_id, owner=owner, lease=LEASE, now=now)


def running_job(engine: sa.Engine, batch: Batch) -> Job:
    """Claim the batch's oldest queued job."""
    job = claimed(engine, queued_ids(engine, batch)[0])
    assert job is not None
    return job


def results_of(job: Job, status: Status = Status.ANSWERED) -> list[Result]:
    """Return a result for each of the job's questions."""
    return [result(p, status) for p in range(job.first_position, job.last_position + 1)]


def finish(
    engine: sa.Engine, job: Job, answers: Sequence[Result] | None = None, now: datetime = NOW
) -> None:
    """Finish a job, with an answer to each question unless others are given."""
    with transaction(engine) as conn:
        jobs.finish(conn, job, results_of(job) if answers is None else answers, now=now)


def fail(engine: sa.Engine, job: Job, error: str = "boom", *, attempts: int = 3) -> JobState:
    """Record that an attempt died."""
    with transaction(engine) as conn:
        return job_failures.fail(conn, job, error=error, attempts=attempts, now=NOW)


def partly_final_batch(engine: sa.Engine, asked: int) -> Batch:
    """Store a batch in jobs of three; the first is answered, handed off and failed."""
    batch = stored_batch(engine, asked, job_size=3)
    ends = [result(1), result(2, Status.HANDED_OFF), result(3, Status.FAILED)]
    finish(engine, running_job(engine, batch), ends)
    return batch


def ended_batch(
    engine: sa.Engine, asked: int | Sequence[Question] = 4, now: datetime = NOW, **values: Any
) -> Batch:
    """Store a batch whose questions are all answered, finished at `now`."""
    batch = stored_batch(engine, asked, **values)
    while queued_ids(engine, batch):
        finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        batches.close_finished(conn, now, batch.id)
    return batch


def all_results(engine: sa.Engine, batch: Batch) -> list[sa.Row[Any]]:
    """Return the batch's visible results in the cursor's order."""
    with reading(engine) as conn:
        return results.page(conn, batch.id)


def built_version(engine: sa.Engine, name: str = "shop", digest: str = "d1") -> ModelVersion:
    """Register a model version."""
    with transaction(engine) as conn:
        return model_versions.register(
            conn, name=name, digest=digest, metrics={"accuracy": 0.9}, now=NOW
        )


def promoted_version(engine: sa.Engine, name: str = "shop") -> ModelVersion:
    """Register a model version and put it into production."""
    version = built_version(engine, name)
    with transaction(engine) as conn:
        model_versions.promote(conn, version, by="test", now=NOW)
        return model_versions.find(conn, str(version))


def raw(engine: sa.Engine) -> str:
    """Return every value of every table as any SQL client sees it."""
    with reading(engine) as conn:
        tables = sa.inspect(conn).get_table_names()
        rows = [list(conn.execute(sa.text(f"SELECT * FROM {t}"))) for t in tables]  # noqa: S608 - ours
        parts = conn.execute(sa.text("SELECT content FROM file_parts"))
        return f"{rows} {[bytes(row.content) for row in parts]}"
