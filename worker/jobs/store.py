"""CAPTION worker.jobs.store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog

from core.domain.job import Job, JobState
from core.domain.result import Answer, Result, Status
from core.errors import DatabaseUnavailable, LeaseLost
from db.queries import batches, job_failures, jobs
from db.session import transaction
from worker.jobs import spans
from worker.jobs.context import (
    AnsweredJob,
    FailedJob,
    JobContext,
    Outcome,
    retry_while_database_unavailable,
)
from worker.monitoring.metrics import Stage

log = structlog.get_logger()


EXPIRED = Answer(Status.EXPIRED)


def store_outcomes(desk: JobContext, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store how the jobs ended; return those whose lease was not lost.

    Waits for a database that is away.
    """
    answered = [outcome for outcome in outcomes if isinstance(outcome, AnsweredJob)]
    began = time.perf_counter()
    with desk.metrics.timing(Stage.STORE):
        lost = (
            set(retry_while_database_unavailable(_store_answers, desk, answered))
            if answered
            else set()
        )
    for outcome in outcomes:
        if isinstance(outcome, FailedJob) and not _store_failed(desk, outcome):
            lost.add(outcome.claimed.job)
    for job in lost:
        log.warning("lease lost, nothing written", job=job.id, attempt=job.attempt)
    kept = [outcome for outcome in outcomes if outcome.claimed.job not in lost]
    for outcome in kept:
        if isinstance(outcome, AnsweredJob):
            desk.metrics.count_answers(outcome.answers, outcome.model_version)
            _log_done(outcome)
    if desk.traces and answered:
        written = (outcome for outcome in kept if isinstance(outcome, AnsweredJob))
        now = retry_while_database_unavailable(desk.clock)
        spans.record_stored(desk.traces, written, began=began, now=now)
    return kept


def _store_answers(desk: JobContext, answered: Sequence[AnsweredJob]) -> list[Job]:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        work = [(outcome.claimed.job, _rows(outcome, now)) for outcome in answered]
        return jobs.finish_all(conn, work, now=now)


def _rows(outcome: AnsweredJob, now: datetime) -> list[Result]:
    deadline = outcome.claimed.job.deadline
    late = deadline is not None and now > deadline
    return [
        Result(position, key, EXPIRED if late else answer, outcome.model_version, now)
        for (position, key, _), answer in zip(
            outcome.claimed.questions, outcome.answers, strict=True
        )
    ]


def _store_failed(desk: JobContext, outcome: FailedJob) -> bool:
    job = outcome.claimed.job
    try:
        state = retry_while_database_unavailable(_store_failure, desk, outcome)
    except LeaseLost:
        state = None
    now = state.value if state else "lost"
    log.error("attempt failed", job=job.id, attempt=job.attempt, error=outcome.error, now=now)
    return state is not None


def _store_failure(desk: JobContext, outcome: FailedJob) -> JobState:
    job, error = outcome.claimed.job, f"{outcome.error}: {outcome.message}"[:500]
    with transaction(desk.engine) as conn:
        if not outcome.model_is_broken:
            return job_failures.fail(
                conn, job, error=error, attempts=desk.attempts, now=desk.clock()
            )
        jobs.give_back(conn, job)
        return JobState.QUEUED


def _log_done(outcome: AnsweredJob) -> None:
    job, seconds = outcome.claimed.job, round(outcome.seconds, 3)
    counts = Counter(answer.status.value for answer in outcome.answers)
    counts.update(answer.via.value for answer in outcome.answers if answer.via)
    log.info("job done", job=job.id, batch=job.batch_id, seconds=seconds, **counts)


def close_batches(desk: JobContext, ids: Iterable[int]) -> None:
    """Note the end of those of these batches that have no job left."""
    for batch_id in sorted(set(ids)):
        retry_while_database_unavailable(_close_batch, desk, batch_id)


def _close_batch(desk: JobContext, batch_id: int) -> None:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        closed = batches.close_finished(conn, now, batch_id)
        batch = batches.find(conn, str(batch_id)) if closed and desk.traces else None
    if batch is not None and desk.traces:
        spans.record_ended(desk.traces, batch, now)


def give_back_jobs(desk: JobContext, claimed: Iterable[Job]) -> None:
    """Queue claimed jobs again that are not finished; a fault is left to their leases' end."""
    for job in claimed:
        try:
            with transaction(desk.engine) as conn:
                jobs.give_back(conn, job)
        except (LeaseLost, DatabaseUnavailable) as error:
            log.warning("job not given back", job=job.id, error=str(error))
        else:
            log.info("job given back", job=job.id)
