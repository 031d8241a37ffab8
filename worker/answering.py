"""The use case: claim a job, answer its questions, store their results.

Knows neither Celery nor torch: the model is an argument. A fault of the database is
waited out and burns no attempt; a fault of the model counts against the job. When the
lease is lost on the way, nothing is written and nothing is raised.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import sqlalchemy as sa
import structlog
import tenacity

from db import batches, jobs, results
from db.entities import Answer, Job, JobState, Result, Status
from db.errors import DatabaseAway, LeaseLost
from db.session import transaction
from worker.leases import LeaseKeeper
from worker.model.reasons import Reason
from worker.passes import Model, answer_texts

log = structlog.get_logger()
T = TypeVar("T")

EMPTY = Answer(Status.FAILED, error="empty question")
TOO_LONG = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)
EXPIRED = Answer(Status.EXPIRED)

_outlast_the_database = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(DatabaseAway),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
    before_sleep=lambda _: log.warning("database away, waiting"),
    reraise=True,
)


class Progress(Protocol):
    """Hears how many of a job's questions have been through the model."""

    def __call__(self, done: int, size: int, /) -> None:
        """Hear it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a worker process answers with and under which rules."""

    engine: sa.Engine
    clock: Callable[[], datetime]
    keeper: LeaseKeeper
    owner: str
    lease: timedelta
    attempts: int  # of a single question, before it is given up
    question_chars: int


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed job with its unanswered questions: position, key and text each."""

    job: Job
    questions: list[tuple[int, str, str]]
    deadline: datetime | None


def answer_job(desk: Desk, model: Model, job_id: int, progress: Progress) -> dict[str, object]:
    """Answer a queued job; a job that is not queued any more costs one query.

    Returns:
        What Flower shows: questions by status and the rate, or why there was nothing to do.
    """
    started = time.perf_counter()
    work = _outlast_the_database(_take, desk, job_id)
    if work is None:
        return {"idle": "the job was not queued any more"}
    job = work.job
    with desk.keeper.holding(job):
        try:
            answers = _answer(desk, model, work, progress)
        except Exception as error:  # noqa: BLE001 - whatever a model raises counts against the job
            return _fail(desk, job, error)
        try:
            _outlast_the_database(_store, desk, model.version, work, answers)
        except LeaseLost:
            log.warning("lease lost, nothing written", job=job.id, attempt=job.attempt)
            return {"idle": "the lease was lost"}
    _outlast_the_database(_close_batch, desk, job)
    return _summary(job, answers, time.perf_counter() - started)


def _take(desk: Desk, job_id: int) -> Work | None:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        job = jobs.claim(conn, job_id, owner=desk.owner, lease=desk.lease, now=now)
        if job is None:
            return None
        first, last = job.first_position, job.last_position
        questions = results.unanswered(conn, job.batch_id, first, last)
        return Work(job, questions, jobs.deadline(conn, job))


def _answer(desk: Desk, model: Model, work: Work, progress: Progress) -> list[Answer]:
    return answer_questions(
        model, [text for _, _, text in work.questions], desk.question_chars, progress
    )


def answer_questions(
    model: Model, texts: Sequence[str], question_chars: int, progress: Progress
) -> list[Answer]:
    """Answer texts of any kind, in the order given, as every worker does.

    Args:
        model: what answers.
        texts: the questions.
        question_chars: a longer one never reaches the model, nor does a blank one.
        progress: hears how many of those that do are answered.
    """
    ended = {i: end for i, text in enumerate(texts) if (end := _unfit(text, question_chars))}
    fit = [i for i in range(len(texts)) if i not in ended]
    on_pass = partial(_report, progress, len(fit))
    answers = answer_texts(model, [texts[i] for i in fit], on_pass=on_pass)
    ended.update(zip(fit, answers, strict=True))
    return [ended[i] for i in range(len(texts))]


def _report(progress: Progress, size: int, done: int) -> None:
    progress(done, size)


def _unfit(text: str, question_chars: int) -> Answer | None:
    """Return the end of a question that never reaches the model."""
    if not text.strip():
        return EMPTY
    return TOO_LONG if len(text) > question_chars else None


def _store(desk: Desk, model_version: str, work: Work, answers: list[Answer]) -> None:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        late = work.deadline is not None and now > work.deadline
        rows = [
            Result(position, key, EXPIRED if late else answer, model_version, now)
            for (position, key, _), answer in zip(work.questions, answers, strict=True)
        ]
        jobs.finish(conn, work.job, rows, now=now)


def _close_batch(desk: Desk, job: Job) -> None:
    with transaction(desk.engine) as conn:
        batches.close_finished(conn, desk.clock(), job.batch_id)


def _fail(desk: Desk, job: Job, error: Exception) -> dict[str, object]:
    # The message of an exception may quote a question: it goes into SQL, never into the log.
    name = type(error).__name__
    log.error("attempt failed", job=job.id, attempt=job.attempt, error=name)
    try:
        state = _outlast_the_database(_store_failure, desk, job, f"{name}: {error}"[:500])
    except LeaseLost:
        return {"idle": "the lease was lost"}
    _outlast_the_database(_close_batch, desk, job)
    return {"failed_attempt": name, "job": state.value}


def _store_failure(desk: Desk, job: Job, error: str) -> JobState:
    with transaction(desk.engine) as conn:
        return jobs.fail(conn, job, error=error, attempts=desk.attempts, now=desk.clock())


def _summary(job: Job, answers: list[Answer], seconds: float) -> dict[str, object]:
    counts = Counter(answer.status.value for answer in answers)
    rate = round(len(answers) / seconds, 1)
    log.info("job done", job=job.id, batch=job.batch_id, seconds=round(seconds, 3), **counts)
    return {**counts, "questions_per_s": rate}
