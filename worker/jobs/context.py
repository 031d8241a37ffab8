"""The use case: claim jobs, answer their questions, store their results.

Jobs that are small are topped up: claimed, read, answered and stored together with others
of their lane. Each keeps its own lease and its own fence, and fails by itself: when the
model raises on several, each is answered alone.

Knows neither Celery nor torch: the models are arguments. A fault of the database is
waited out and burns no attempt. A fault of the model counts against the job, unless the
model fails on a harmless question, too: then the job goes back unharmed. When a lease is
lost on the way, nothing of that job is written and nothing is raised.
What is done meanwhile, and in which order, is told by `worker.jobs.runner`.
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


retry_while_database_unavailable = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
    before_sleep=lambda _: log.warning("database away, waiting"),
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a worker process answers with and under which rules."""

    engine: sa.Engine
    clock: Callable[[], datetime]
    leases: LeaseRenewer
    owner: str
    lease: timedelta
    attempts: int  # of a single question, before it is given up
    question_chars: int
    claim_limit: int = 128  # questions up to which jobs are claimed together
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    traces: Tracer | None = None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A claimed job with its unanswered questions: position, key and text each."""

    job: Job
    questions: list[tuple[int, str, str]]
    claimed_at: float = field(default_factory=time.perf_counter, compare=False)  # when, here


ClaimedJobs = list[ClaimedJob]  # what is answered together; never empty


@dataclass(frozen=True, slots=True)
class AnsweredJob:
    """A job with an answer to each of its questions, to be stored."""

    claimed: ClaimedJob
    answers: list[Answer]
    model_version: str
    began: float  # when the model did, by time.perf_counter
    seconds: float  # that it took for all that it was answered with


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job whose attempt died.

    The exception itself is not kept: its traceback holds what the model had in memory.
    """

    claimed: ClaimedJob
    error: str  # the exception's class
    message: str  # may quote a question: it goes into SQL, never into the log
    model_is_broken: bool = False  # the model answers nothing at all


Outcome = AnsweredJob | FailedJob
