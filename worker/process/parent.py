"""The worker's process: a Celery prefork worker whose children each hold one model.

The parent never imports torch: forking after torch has started its threads hangs. A
child loads the model before it takes work; a message that arrives meanwhile waits for it.
From then on it is the child's business: `worker.process.replica`.
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

# A replacement child is killed when it has not loaded its model by then.
_LOAD_SECONDS = 600

# How long after its limit a job that did not listen is killed.
_KILL_AFTER = 15


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
    settings: Settings, load: Load = load_bundle, forked: Callable[[], None] = lambda: None
) -> Celery:
    """Build the Celery app with its task; nothing is connected to or loaded yet.

    Args:
        settings: read once.
        load: makes a model of a version.
        forked: closes in each child what belongs to the parent.
    """
    app = Celery("answermill")
    app.conf.update(celery_config.celery_settings(settings) | _worker_settings(settings))
    app.amqp.Connection = ConstantBackoffConnection
    place = task.ReplicaSlot()
    task.register(app, place)
    # Made before any fork: the breaker's count is shared with every child, and children see
    # here what the parent alone is told.
    breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds, settings.replicas)
    draining = sharedctypes.RawValue("b", 0)

    def drain(**_: object) -> None:
        draining.value = 1

    # Celery calls this in each child, before the child takes its first task.
    def begin(**_: object) -> None:
        forked()
        place.replica = replica.start_replica(
            app, settings, load, breaker, lambda: bool(draining.value)
        )

    signals.worker_init.connect(lambda **_: freeze_gc(), weak=False)
    signals.worker_process_init.connect(begin, weak=False)
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
        "task_time_limit": settings.job_time_limit + _KILL_AFTER,
        "worker_proc_alive_timeout": _LOAD_SECONDS,
        "worker_disable_rate_limits": True,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # The lease makes a second run harmless, so a job in work need not be cancelled.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_max_retries": None,
        # A Redis that refuses to write, being out of memory or without a disk, comes back, too: the
        # parent must not die of it, and take along the jobs in work.
        "broker_channel_error_retry": True,
    }


def run(settings: Settings, lanes: Sequence[Lane], load: Load = load_bundle) -> int:
    """Work until a signal says stop; return the exit status.

    A Redis that is away is waited for.

    Args:
        settings: read once.
        lanes: which to take work from, the first one first.
        load: makes a model of a version, in each child.

    Raises:
        UserError: the schema, the model, the key of what is stored or what speaks to the model's
            store is not there; or Redis is another stack's.
        DatabaseUnavailable: the database can't be reached.
    """
    logging_setup.configure(settings)
    threads = set_thread_limits(settings.threads, settings.replicas)
    version, identity = _active_version(settings)
    if load is load_bundle:
        require_bundle(settings, version)
    # A name that comes into production later must not leave the children without a choice.
    spec = settings.model or version.name
    chosen = settings.model_copy(update={"model": spec, "threads": threads})
    log.info("worker starting", model=str(version), replicas=settings.replicas, threads=threads)
    with metrics.serve_metrics(chosen) as counts:
        app = create_app(chosen, load, counts.close)
        _claim_broker(app, settings, identity)
        app.worker_main(
            [
                "worker",
                "--events",
                "--without-gossip",
                "--without-mingle",
                f"--queues={','.join(lanes)}",
                f"--hostname={os.getpid()}@{socket.gethostname()}",
                "--loglevel=WARNING",
            ]
        )
    return 0


def _active_version(settings: Settings) -> tuple[ModelVersion, str]:
    """Return the version that is in force, and the database's identity."""
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
        engine.dispose()  # connections must not be shared with children
    return version, identity


def _claim_broker(app: Celery, settings: Settings, identity: str) -> None:
    try:
        ownership.claim_broker(app, settings, identity)
    except BrokerUnavailable as error:
        log.warning("Redis is waited for", error=str(error))
