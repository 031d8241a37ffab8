"""One replica: the model, connections and threads of a child process.

Each replica has its own connections. Its threads renew leases, sweep, watch for new model
versions and store heartbeats. Replicas of a worker share only the count of the breaker.
Not covered: the Celery side of the child: `worker.process.task`.
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

# Seconds in which one message may claim further jobs. At most a tenth of the time limit of the
# message, so that most of the limit remains for the last job.
_CLAIM_SECONDS = 5.0

Load = Callable[[Settings, ModelVersion], AnsweringModel]


@dataclass(frozen=True, slots=True)
class CeleryQueue:
    """The message queue of the sweep, in Redis."""

    app: Celery
    settings: Settings

    def waiting(self, lane: Lane) -> int:
        """Return the number of messages that wait in the lane."""
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
    """Load the active version and start the threads of the replica.

    If loading fails, the process ends.

    Args:
        app: the worker's Celery app.
        settings: the worker's settings.
        load: loads a model version.
        breaker: shared with the other children of the worker.
        draining: returns whether the worker was stopped.
    """
    slot = current_process().index
    breaker.count_predecessor_crash(slot)
    metrics = WorkerMetrics()
    metrics.count_log_events()
    engine, watcher = _load_model(settings, load, metrics, breaker)
    context = _start_leases_and_sweep(app, settings, engine, metrics)
    GracefulShutdown(context, draining, settings.drain_seconds).start()
    lanes = [Lane(name) for name in app.amqp.queues.consume_from]
    heartbeat = _start_watcher_and_heartbeat(context, watcher, breaker, slot, lanes)
    runner = JobRunner(
        context,
        AttemptRunner(context, watcher, heartbeat, breaker, slot).run,
        lanes=lanes,
        seconds=min(_CLAIM_SECONDS, settings.job_time_limit / 10),
        should_stop_claiming=lambda: draining() or breaker.state()[1],
    )
    return task.Replica(runner, breaker)


def _load_model(
    settings: Settings, load: Load, metrics: WorkerMetrics, breaker: CircuitBreaker
) -> tuple[sa.Engine, ModelWatcher]:
    """Load the active version, or end the process if that fails."""
    try:
        engine = open_engine(settings, ping=False)
        watcher = _model_watcher(
            settings, engine, partial(_load_instrumented, load, metrics), breaker
        )
        watcher.load_first()
    except Exception as error:
        if isinstance(error, AnswermillError):
            log.error("model not loaded", error=str(error))  # noqa: TRY400 - no traceback needed
        else:
            log.exception("model not loaded")
        os._exit(1)  # Celery would ignore the error and send tasks to this child
    return engine, watcher


def _start_leases_and_sweep(
    app: Celery, settings: Settings, engine: sa.Engine, metrics: WorkerMetrics
) -> JobContext:
    clock = DatabaseClock(engine)
    lease = timedelta(seconds=settings.lease_seconds)
    leases = LeaseRenewer(engine, clock, lease)
    leases.start()
    queue = CeleryQueue(app, settings)
    identity = _identity(engine)
    claim_broker = partial(ownership.claim_broker, app, settings, identity)
    sweep = Sweep(engine, clock, queue, settings.attempts, settings.high_water, claim_broker)
    Sweeper(sweep, settings.sweep_seconds).start()
    return JobContext(
        engine=engine,
        clock=clock,
        leases=leases,
        owner=f"{socket.gethostname()}/{os.getpid()}",
        lease=lease,
        attempts=settings.attempts,
        question_chars=settings.question_chars,
        claim_limit=settings.job_size,
        metrics=metrics,
        traces=open_tracer(settings, "answermill-worker", identity),
    )


def _start_watcher_and_heartbeat(
    context: JobContext,
    watcher: ModelWatcher,
    breaker: CircuitBreaker,
    slot: int,
    lanes: Sequence[Lane],
) -> Heartbeat:
    heartbeat = Heartbeat(
        context.engine,
        context.clock,
        slot=slot,
        lanes=lanes,
        model_version=lambda: watcher.version,
        failures=breaker.state,
    )
    freeze_gc()
    malloc_trim()  # loading needs more memory than the loaded model
    log.info("model loaded", model=watcher.version)
    watcher.start()
    heartbeat.start()
    return heartbeat


def _load_instrumented(
    load: Load, metrics: WorkerMetrics, settings: Settings, version: ModelVersion
) -> AnsweringModel:
    available = partial(available_bytes, settings.memory_bytes, replicas=settings.replicas)
    return InstrumentedModel(MemoryBudgetedModel(load(settings, version), available), metrics)


def _identity(engine: sa.Engine) -> str:
    with reading(engine) as conn:
        return dialect.database_identity(conn)


def _model_watcher(
    settings: Settings, engine: sa.Engine, load: Load, breaker: CircuitBreaker
) -> ModelWatcher:
    cache = AnswerCache(settings.answer_cache)

    def read_versions() -> ActiveVersions:
        with reading(engine) as conn:
            return model_versions.active(conn, settings.model)

    def on_swap() -> None:
        breaker.reset()
        release_memory()

    return ModelWatcher(
        read_versions,
        lambda version: CachedModel(load(settings, version), cache),
        seconds=settings.follow_seconds,
        on_swap=on_swap,
    )
