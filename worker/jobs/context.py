"""The context of a replica's jobs, and the states of a claimed job.

A claimed job is answered, which gives an `AnsweredJob` or a `FailedJob`, and then stored. If
the database is unavailable, the job waits, which uses up no attempt. If the model raises, the
attempt counts against the job, unless the model also fails on a probe question: then the job
is queued again. If a lease is lost, nothing of its job is written and nothing is raised.
Knows neither Celery nor torch: the models are arguments.
Not covered: the order of the steps: `worker.jobs.runner`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
import tenacity

from core.domain.job import Job
from core.domain.result import Answer
from core.errors import DatabaseUnavailable
from worker.monitoring.metrics import WorkerMetrics
from worker.recovery.leases import LeaseRenewer

if TYPE_CHECKING:
    from core.tracing.spans import Tracer

log = structlog.get_logger()


def _log_postponed(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("database access postponed", reason=str(error))


retry_while_database_unavailable = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
    before_sleep=_log_postponed,
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class JobContext:
    """Dependencies and limits shared by every job of one replica."""

    engine: sa.Engine
    clock: Callable[[], datetime]  # the database's time
    leases: LeaseRenewer
    owner: str  # written into the rows of claimed jobs
    lease: timedelta
    attempts: int  # failed attempts of a single question until it is given up
    question_chars: int  # longer questions are handed off unread
    claim_limit: int = 128  # questions that are claimed together; higher: fewer transactions
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    traces: Tracer | None = None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A claimed job with its unanswered questions."""

    job: Job
    questions: list[tuple[int, str, str]]  # position, key, text
    claimed_at: float = field(default_factory=time.perf_counter, compare=False)


ClaimedJobs = list[ClaimedJob]  # answered together; never empty


@dataclass(frozen=True, slots=True)
class AnsweredJob:
    """A job with an answer to each of its questions, ready to be stored."""

    claimed: ClaimedJob
    answers: list[Answer]
    model_version: str
    started_at: float  # of the model's work, by time.perf_counter
    seconds: float  # of the model's work on all jobs that were answered together


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job whose attempt failed.

    The exception is not kept, because its traceback holds the model's data in memory.
    """

    claimed: ClaimedJob
    error: str  # the exception's class
    message: str  # stored in SQL but never logged, because it may quote a question
    model_is_broken: bool = False  # the model answers no question at all


Outcome = AnsweredJob | FailedJob
