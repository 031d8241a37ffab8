"""The parent process of a worker: Celery's prefork pool.

Each child has one model, which it loads before it accepts tasks. Messages that arrive earlier
wait. The parent never imports torch, because a fork hangs after torch has started threads.
Not covered: the child process: `worker.process.replica`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing import sharedctypes

import structlog
from celery import Celery, signals

from broker import celery_config, ownership
from core import logging_setup
from core.domain.batch import Lane
from core.domain.model_version import ModelVersion
from core.errors import BrokerUnavailable
from core.settings.settings import Settings
from db import dialect
from db.queries import model_versions, results
from db.schema import prepare
from db.session import reading
from worker.inference.memory import freeze_gc
from worker.inference.protocol import AnsweringModel
from worker.model.bundle.location import require_bundle
from worker.monitoring import metrics
from worker.process import replica, task
from worker.process.connection import ConstantBackoffConnection
from worker.process.cpu_threads import set_thread_limits
from worker.process.replica import Load
from worker.recovery.circuit_breaker import CircuitBreaker

log = structlog.get_logger()

# Seconds in which a replacement child must load its model. Higher: a slow model store is
# tolerated longer, and a hanging child is killed later.
_LOAD_SECONDS = 600

# Seconds from the soft time limit of a job to the kill of its process.
KILL_AFTER_SECONDS = 15


def load_bundle(settings: Settings, version: ModelVersion) -> AnsweringModel:
    """Fetch, verify and load a version's bundle."""
    from worker.model.registry import load_version  # may import torch: only ever in a child

    model = load_version(settings, version)
    log.info(
        "passes measured",
        model=model.version,
        encoder=model.kind,
        device=model.encoder.device.value,
        threads=settings.threads,
        questions=model.budget.questions,
        questions_per_s=dict(model.rates),
    )
    return model


def create_app(
    settings: Settings, load: Load = load_bundle, on_fork: Callable[[], None] = lambda: None
) -> Celery:
    """Build the Celery app, without connecting or loading a model.

    Args:
        settings: the worker's settings.
        load: loads a model version.
        on_fork: called in each child; closes the parent's resources there.
    """
    app = Celery("answermill")
    app.conf.update(celery_config.celery_settings(settings) | _worker_settings(settings))
    app.amqp.Connection = ConstantBackoffConnection
    slot = task.ReplicaSlot()
    task.register(app, slot)
    # Both are created before any fork, because all children share their memory: the failure
    # count of the breaker, and the shutdown signal, which only the parent receives.
    breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds, settings.replicas)
    draining = sharedctypes.RawValue("b", 0)

    def drain(**_: object) -> None:
        draining.value = 1

    # Celery calls this function in each child, before the child's first task.
    def start(**_: object) -> None:
        on_fork()
        slot.replica = replica.start_replica(
            app, settings, load, breaker, lambda: bool(draining.value)
        )

    signals.worker_init.connect(lambda **_: freeze_gc(), weak=False)
    signals.worker_process_init.connect(start, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    signals.setup_logging.connect(lambda **_: logging_setup.configure(settings), weak=False)
    return app


def _worker_settings(settings: Settings) -> dict[str, object]:
    return {
        "worker_pool": "prefork",
        "worker_consumer": "worker.process.consumer:SafeConsumer",
        "worker_concurrency": settings.replicas,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_soft_time_limit": settings.job_time_limit,
        "task_time_limit": settings.job_time_limit + KILL_AFTER_SECONDS,
        "worker_proc_alive_timeout": _LOAD_SECONDS,
        "worker_disable_rate_limits": True,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # The lease makes a second run harmless, so a running job need not be cancelled.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_max_retries": None,
        # A Redis that refuses writes (no memory, no disk) recovers later. Until then the parent
        # must not exit, because its running jobs would end with it.
        "broker_channel_error_retry": True,
    }


def run(settings: Settings, lanes: Sequence[Lane], load: Load = load_bundle) -> int:
    """Run the worker until a signal stops it, and return the exit status.

    If Redis is unavailable, the worker waits for it.

    Args:
        settings: the worker's settings.
        lanes: the lanes to answer; the first one goes first.
        load: loads a model version, in each child.

    Raises:
        UserError: the schema, the model, the encryption key or the package for the model store is
            missing, or Redis belongs to another stack.
        DatabaseUnavailable: the database cannot be reached.
    """
    logging_setup.configure(settings)
    threads = set_thread_limits(settings.threads, settings.replicas)
    version, identity = _active_version(settings)
    if load is load_bundle:
        require_bundle(settings, version)
    # The name is fixed here: if a second name comes into production later, a child could not
    # choose between the two.
    spec = settings.model or version.name
    child_settings = settings.model_copy(update={"model": spec, "threads": threads})
    log.info("worker started", model=str(version), replicas=settings.replicas, threads=threads)
    with metrics.serve_metrics(child_settings) as server:
        app = create_app(child_settings, load, server.close)
        _claim_broker(app, settings, identity)
        app.worker_main(_celery_arguments(lanes))
    return 0


def _celery_arguments(lanes: Sequence[Lane]) -> list[str]:
    return [
        "worker",
        "--events",
        "--without-gossip",
        "--without-mingle",
        f"--queues={','.join(lanes)}",
        f"--hostname={os.getpid()}@{socket.gethostname()}",
        "--loglevel=WARNING",
    ]


def _active_version(settings: Settings) -> tuple[ModelVersion, str]:
    """Return the version in production and the database's identity."""
    if settings.store_url is not None:
        from worker.model.bundle import remote_store

        remote_store.check(settings.store_url)
    engine = prepare(settings)
    try:
        with reading(engine) as conn:
            results.check_key(conn)
            version = model_versions.active(conn, settings.model).version
            identity = dialect.database_identity(conn)
    finally:
        engine.dispose()  # children must not share the parent's connections
    return version, identity


def _claim_broker(app: Celery, settings: Settings, identity: str) -> None:
    try:
        ownership.claim_broker(app, settings, identity)
    except BrokerUnavailable as error:
        log.warning("Redis connection postponed", reason=str(error))
