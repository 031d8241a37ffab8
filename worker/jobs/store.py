"""Store the outcomes of jobs, or give jobs back.

Every write checks the fence: if the lease of a job was lost, nothing of that job is written.
If the database is unavailable, storing waits for it.
Not covered: the thread that calls this module: `worker.jobs.pipeline`.
"""

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
_MAX_ERROR_CHARS = 500


def store_outcomes(context: JobContext, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store outcomes, and return those whose lease was not lost.

    If the database is unavailable, wait for it.
    """
    answered = [outcome for outcome in outcomes if isinstance(outcome, AnsweredJob)]
    started_at = time.perf_counter()
    lost = _store_answered(context, answered)
    for outcome in outcomes:
        if isinstance(outcome, FailedJob) and not _store_failed(context, outcome):
            lost.add(outcome.claimed.job)
    for job in lost:
        log.warning("outcome discarded", job=job.id, attempt=job.attempt)
    stored = [outcome for outcome in outcomes if outcome.claimed.job not in lost]
    stored_answers = [outcome for outcome in stored if isinstance(outcome, AnsweredJob)]
    for outcome in stored_answers:
        context.metrics.count_answers(outcome.answers, outcome.model_version)
        _log_done(outcome)
    if context.traces and answered:
        now = retry_while_database_unavailable(context.clock)
        spans.record_stored(context.traces, stored_answers, storing_since=started_at, now=now)
    return stored


def _store_answered(context: JobContext, answered: Sequence[AnsweredJob]) -> set[Job]:
    """Store the answers, and return the jobs whose lease was lost."""
    with context.metrics.timing(Stage.STORE):
        if not answered:
            return set()
        return set(retry_while_database_unavailable(_store_answers, context, answered))


def _store_answers(context: JobContext, answered: Sequence[AnsweredJob]) -> list[Job]:
    with transaction(context.engine) as conn:
        now = context.clock()
        finished = [(outcome.claimed.job, _rows(outcome, now)) for outcome in answered]
        return jobs.finish_all(conn, finished, now=now)


def _rows(outcome: AnsweredJob, now: datetime) -> list[Result]:
    deadline = outcome.claimed.job.deadline
    late = deadline is not None and now > deadline
    return [
        Result(position, key, EXPIRED if late else answer, outcome.model_version, now)
        for (position, key, _), answer in zip(
            outcome.claimed.questions, outcome.answers, strict=True
        )
    ]


def _store_failed(context: JobContext, outcome: FailedJob) -> bool:
    job = outcome.claimed.job
    try:
        state = retry_while_database_unavailable(_store_failure, context, outcome)
    except LeaseLost:
        state = None
    new_state = state.value if state else "lost"
    log.error(
        "attempt failed",
        job=job.id,
        attempt=job.attempt,
        error=outcome.error,
        new_state=new_state,
    )
    return state is not None


def _store_failure(context: JobContext, outcome: FailedJob) -> JobState:
    job, error = outcome.claimed.job, f"{outcome.error}: {outcome.message}"[:_MAX_ERROR_CHARS]
    with transaction(context.engine) as conn:
        if not outcome.model_is_broken:
            return job_failures.fail(
                conn, job, error=error, attempts=context.attempts, now=context.clock()
            )
        jobs.give_back(conn, job)
        return JobState.QUEUED


def _log_done(outcome: AnsweredJob) -> None:
    job, seconds = outcome.claimed.job, round(outcome.seconds, 3)
    counts = Counter(answer.status.value for answer in outcome.answers)
    counts.update(answer.via.value for answer in outcome.answers if answer.via)
    log.info("job done", job=job.id, batch=job.batch_id, seconds=seconds, **counts)


def close_batches(context: JobContext, batch_ids: Iterable[int]) -> None:
    """Close those of the batches that have no open job left."""
    for batch_id in sorted(set(batch_ids)):
        retry_while_database_unavailable(_close_batch, context, batch_id)


def _close_batch(context: JobContext, batch_id: int) -> None:
    with transaction(context.engine) as conn:
        now = context.clock()
        closed = batches.close_finished(conn, now, batch_id)
        batch = batches.find(conn, str(batch_id)) if closed and context.traces else None
    if batch is not None and context.traces:
        spans.record_ended(context.traces, batch, now)


def give_back_jobs(context: JobContext, claimed: Iterable[Job]) -> None:
    """Queue unfinished jobs again.

    After an error, the job stays claimed until its lease expires.
    """
    for job in claimed:
        try:
            with transaction(context.engine) as conn:
                jobs.give_back(conn, job)
        except (LeaseLost, DatabaseUnavailable) as error:
            log.warning("job not given back", job=job.id, error=str(error))
        else:
            log.info("job given back", job=job.id)
