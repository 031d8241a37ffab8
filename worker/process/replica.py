"""A worker's child: one replica of the model, and the threads beside it.

It holds its own connections and renews, sweeps, follows and tells how it is by itself, so that
nothing but the breaker's count is shared between the replicas of a worker.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa
import structlog
from billiard import current_process
from celery import Celery

from broker import lanes as queues
from broker import ownership
from core.domain.batch import Lane
from core.domain.model_version import ActiveVersions, ModelVersion
from core.errors import AnswermillError
from core.messages import AnswerJob
from core.settings.settings import Settings
from core.tracing.setup import open_tracer
from db import dialect
from db.clock import DatabaseClock
from db.engine import open_engine
from db.queries import model_versions
from db.session import reading
from worker.inference.answer_cache import AnswerCache, CachedModel
from worker.inference.memory import available_bytes, freeze_gc, malloc_trim, release_memory
from worker.inference.memory_budget import MemoryBudgetedModel
from worker.inference.model_watcher import ModelWatcher
from worker.inference.protocol import AnsweringModel
from worker.jobs.attempt import AttemptRunner
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.monitoring.heartbeat import Heartbeat
from worker.monitoring.metrics import InstrumentedModel, WorkerMetrics
from worker.process import task
from worker.process.shutdown import GracefulShutdown
from worker.recovery.circuit_breaker import CircuitBreaker
from worker.recovery.leases import LeaseRenewer
from worker.recovery.sweep import Sweep, Sweeper

log = structlog.get_logger()

# How long a message's job takes others along; a tenth of the time limit at most, which is the
# message's, so that the last one has most of it.
_CLAIM_SECONDS = 5.0

Load = Callable[[Settings, ModelVersion], AnsweringModel]


@dataclass(frozen=True, slots=True)
class CeleryQueue:
    """Redis as the sweep sees it."""

    app: Celery
    settings: Settings

    def waiting(self, lane: Lane) -> int:
        """Return how many messages of the lane wait."""
        return queues.waiting(self.app, lane, self.settings)

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send the messages."""
        queues.send(self.app, messages, self.settings)


def start_replica(
    app: Celery,
    settings: Settings,
    load: Load,
    breaker: CircuitBreaker,
    draining: Callable[[], bool],
) -> task.Replica:
    """Load the model in force and start what works beside it; end the process if that fails.

    Args:
        app: the worker's.
        settings: read once.
        load: makes a model of a version.
        breaker: shared with the worker's other children.
        draining: tells whether the worker was told to stop.
    """
    slot = current_process().index
    breaker.count_predecessor_crash(slot)
    counts = WorkerMetrics()
    counts.count_log_events()
    try:
        engine = open_engine(settings, ping=False)
        following = _model_watcher(settings, engine, partial(_measured, load, counts), breaker)
        model = following.load_first()
    except Exception as error:
        if isinstance(error, AnswermillError):
            log.error("the model can't be loaded", error=str(error))  # noqa: TRY400 - no traceback wanted
        else:
            log.exception("the model can't be loaded")
        os._exit(1)  # Celery would swallow the error and hand this child work
    clock = DatabaseClock(engine)
    lease = timedelta(seconds=settings.lease_seconds)
    keeper = LeaseRenewer(engine, clock, lease)
    keeper.start()
    queue = CeleryQueue(app, settings)
    identity = _identity(engine)
    own = partial(ownership.claim_broker, app, settings, identity)
    sweep = Sweep(engine, clock, queue, settings.attempts, settings.high_water, own)
    Sweeper(sweep, settings.sweep_seconds).start()
    desk = JobContext(
        engine=engine,
        clock=clock,
        leases=keeper,
        owner=f"{socket.gethostname()}/{os.getpid()}",
        lease=lease,
        attempts=settings.attempts,
        question_chars=settings.question_chars,
        claim_limit=settings.job_size,
        metrics=counts,
        traces=open_tracer(settings, "answermill-worker", identity),
    )
    GracefulShutdown(desk, draining, settings.drain_seconds).start()
    lanes = [Lane(name) for name in app.amqp.queues.consume_from]
    vitals = Heartbeat(
        engine,
        clock,
        slot=slot,
        lanes=lanes,
        model_version=lambda: following.version,
        failures=breaker.state,
    )
    freeze_gc()
    malloc_trim()  # what loading took beside the model
    log.info("model loaded", model=model)
    following.start()
    vitals.start()
    line = JobRunner(
        desk,
        AttemptRunner(desk, following, vitals, breaker, slot).run,
        lanes=lanes,
        seconds=min(_CLAIM_SECONDS, settings.job_time_limit / 10),
        enough=lambda: draining() or breaker.state()[1],
    )
    return task.Replica(line, breaker)


def _measured(
    load: Load, counts: WorkerMetrics, settings: Settings, version: ModelVersion
) -> AnsweringModel:
    spare = partial(available_bytes, settings.memory_bytes, replicas=settings.replicas)
    return InstrumentedModel(MemoryBudgetedModel(load(settings, version), spare), counts)


def _identity(engine: sa.Engine) -> str:
    with reading(engine) as conn:
        return dialect.database_identity(conn)


def _model_watcher(
    settings: Settings, engine: sa.Engine, load: Load, breaker: CircuitBreaker
) -> ModelWatcher:
    cache = AnswerCache(settings.answer_cache)

    def look() -> ActiveVersions:
        with reading(engine) as conn:
            return model_versions.active(conn, settings.model)

    def let_go() -> None:
        breaker.reset()
        release_memory()

    return ModelWatcher(
        look,
        lambda version: CachedModel(load(settings, version), cache),
        seconds=settings.follow_seconds,
        let_go=let_go,
    )
