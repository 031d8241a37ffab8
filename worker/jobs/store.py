"""CAPTION worker.jobs.store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog

from core.domain.job import Job, JobState
from core.domain.result import Answer, Result, Status
from core.errors import DatabaseAway, LeaseLost
from db.queries import batches, job_failures, jobs
from db.session import transaction
from worker.jobs import spans
from worker.jobs.context import Answered, Failed, JobContext, Outcome, outlast_the_database
from worker.monitoring.metrics import Stage

log = structlog.get_logger()


EXPIRED = Answer(Status.EXPIRED)


def store(desk: JobContext, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store how the jobs ended; return those whose lease was not lost.

    Waits for a database that is away.
    """
    answered = [outcome for outcome in outcomes if isinstance(outcome, Answered)]
    began = time.perf_counter()
    with desk.meters.timing(Stage.STORE):
        lost = set(outlast_the_database(_store, desk, answered)) if answered else set()
    for outcome in outcomes:
        if isinstance(outcome, Failed) and not _fail(desk, outcome):
            lost.add(outcome.claimed.job)
    for job in lost:
        log.warning("lease lost, nothing written", job=job.id, attempt=job.attempt)
    kept = [outcome for outcome in outcomes if outcome.claimed.job not in lost]
    for outcome in kept:
        if isinstance(outcome, Answered):
            desk.meters.count_answers(outcome.answers, outcome.model_version)
            _tell(outcome)
    if desk.traces and answered:
        written = (outcome for outcome in kept if isinstance(outcome, Answered))
        now = outlast_the_database(desk.clock)
        spans.stored(desk.traces, written, began=began, now=now)
    return kept


def _store(desk: JobContext, answered: Sequence[Answered]) -> list[Job]:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        work = [(outcome.claimed.job, _rows(outcome, now)) for outcome in answered]
        return jobs.finish_all(conn, work, now=now)


def _rows(outcome: Answered, now: datetime) -> list[Result]:
    deadline = outcome.claimed.job.deadline
    late = deadline is not None and now > deadline
    return [
        Result(position, key, EXPIRED if late else answer, outcome.model_version, now)
        for (position, key, _), answer in zip(
            outcome.claimed.questions, outcome.answers, strict=True
        )
    ]


def _fail(desk: JobContext, outcome: Failed) -> bool:
    job = outcome.claimed.job
    try:
        state = outlast_the_database(_store_failure, desk, outcome)
    except LeaseLost:
        state = None
    now = state.value if state else "lost"
    log.error("attempt failed", job=job.id, attempt=job.attempt, error=outcome.error, now=now)
    return state is not None


def _store_failure(desk: JobContext, outcome: Failed) -> JobState:
    job, error = outcome.claimed.job, f"{outcome.error}: {outcome.message}"[:500]
    with transaction(desk.engine) as conn:
        if not outcome.blameless:
            return job_failures.fail(
                conn, job, error=error, attempts=desk.attempts, now=desk.clock()
            )
        jobs.give_back(conn, job)
        return JobState.QUEUED


def _tell(outcome: Answered) -> None:
    job, seconds = outcome.claimed.job, round(outcome.seconds, 3)
    counts = Counter(answer.status.value for answer in outcome.answers)
    counts.update(answer.via.value for answer in outcome.answers if answer.via)
    log.info("job done", job=job.id, batch=job.batch_id, seconds=seconds, **counts)


def close_batches(desk: JobContext, ids: Iterable[int]) -> None:
    """Note the end of those of these batches that have no job left."""
    for batch_id in sorted(set(ids)):
        outlast_the_database(_close_batch, desk, batch_id)


def _close_batch(desk: JobContext, batch_id: int) -> None:
    with transaction(desk.engine) as conn:
        now = desk.clock()
        closed = batches.close_finished(conn, now, batch_id)
        batch = batches.find(conn, str(batch_id)) if closed and desk.traces else None
    if batch is not None and desk.traces:
        spans.ended(desk.traces, batch, now)


def give_back(desk: JobContext, claimed: Iterable[Job]) -> None:
    """Queue claimed jobs again that are not finished; a fault is left to their leases' end."""
    for job in claimed:
        try:
            with transaction(desk.engine) as conn:
                jobs.give_back(conn, job)
        except (LeaseLost, DatabaseAway) as error:
            log.warning("job not given back", job=job.id, error=str(error))
        else:
            log.info("job given back", job=job.id)
