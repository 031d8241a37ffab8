"""The worker's process: a Celery prefork worker whose children each hold one model.

The parent never imports torch: forking after torch has started its threads hangs. A
child loads the model before it takes work; a message that arrives meanwhile waits for it.
From then on the child follows what SQL says is in force.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import sharedctypes

import sqlalchemy as sa
import structlog
from billiard import current_process
from celery import Celery, signals

from db import dialect, logs, queues, versions
from db.config import Settings
from db.entities import InForce, Lane, ModelVersion
from db.errors import BrokerAway
from db.messages import AnswerJob
from db.session import DatabaseClock, open_engine, prepare, reading
from worker import meters, tasks
from worker.along import Line
from worker.answer_cache import AnswerCache, Remembering
from worker.answering import Desk
from worker.attempts import Attempts
from worker.breaker import Breaker
from worker.connection import SteadyConnection
from worker.draining import Drain
from worker.following import Following
from worker.leases import LeaseKeeper
from worker.memory import give_back
from worker.meters import Metered, Meters
from worker.model.place import require_bundle
from worker.passes import Model
from worker.sweep import Sweep, Sweeper
from worker.threads import limit
from worker.vitals import Vitals

log = structlog.get_logger()

# A replacement child is killed when it has not loaded its model by then.
_LOAD_SECONDS = 600

# How long after its limit a job that did not listen is killed.
_KILL_AFTER = 15

# How long a message's job takes others along; a tenth of the time limit at most, which is the
# message's, so that the last one has most of it.
_ALONG_SECONDS = 5.0


Load = Callable[[Settings, ModelVersion], Model]


def load_bundle(settings: Settings, version: ModelVersion) -> Model:
    """Fetch, verify and load a version's bundle."""
    from worker.model.registry import load_version  # may import torch: only ever in a child

    model = load_version(settings, version)
    log.info(
        "passes measured",
        model=model.version,
        encoder=model.kind,
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
    app.conf.update(queues.celery_settings(settings) | _worker_settings(settings))
    app.amqp.Connection = SteadyConnection
    place = tasks.Place()
    tasks.register(app, place)
    # Made before any fork: the breaker's count is shared with every child, and children see
    # here what the parent alone is told.
    breaker = Breaker(settings.breaker_failures, settings.breaker_seconds, settings.replicas)
    draining = sharedctypes.RawValue("b", 0)

    def drain(**_: object) -> None:
        draining.value = 1

    # Celery calls this in each child, before the child takes its first task.
    def begin(**_: object) -> None:
        forked()
        place.child = _begin_child(app, settings, load, breaker, lambda: bool(draining.value))

    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    signals.setup_logging.connect(lambda **_: logs.configure(settings), weak=False)
    return app


def _worker_settings(settings: Settings) -> dict[str, object]:
    return {
        "worker_pool": "prefork",
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
    }


def run(settings: Settings, lanes: Sequence[Lane], load: Load = load_bundle) -> int:
    """Work until a signal says stop; return the exit status.

    A Redis that is away is waited for.

    Args:
        settings: read once.
        lanes: which to take work from, the first one first.
        load: makes a model of a version, in each child.

    Raises:
        UserError: the schema, the model or what speaks to its store is not there; or Redis is
            another stack's.
        DatabaseAway: the database can't be reached.
    """
    logs.configure(settings)
    threads = limit(settings.threads, settings.replicas)
    version, identity = _answering(settings)
    # A name that comes into production later must not leave the children without a choice.
    spec = settings.model or version.name
    chosen = settings.model_copy(update={"model": spec, "threads": threads})
    log.info("worker starting", model=str(version), replicas=settings.replicas, threads=threads)
    with meters.served(chosen) as counts:
        app = create_app(chosen, load, counts.let_go)
        _own(app, settings, identity)
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


def _answering(settings: Settings) -> tuple[ModelVersion, str]:
    """Return the version that is in force, whose bundle is there, and the database's identity."""
    if settings.store_url is not None:
        from worker.model import store

        store.check(settings.store_url)
    engine = prepare(settings)
    try:
        with reading(engine) as conn:
            version = versions.in_force(conn, settings.model).version
            identity = dialect.database_identity(conn)
    finally:
        engine.dispose()  # connections must not be shared with children
    require_bundle(settings, version)
    return version, identity


def _own(app: Celery, settings: Settings, identity: str) -> None:
    try:
        queues.own(app, settings, identity)
    except BrokerAway as error:
        log.warning("Redis is waited for", error=str(error))


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


def _begin_child(
    app: Celery, settings: Settings, load: Load, breaker: Breaker, draining: Callable[[], bool]
) -> tasks.Child:
    slot = current_process().index
    breaker.take_over(slot)
    counts = Meters()
    counts.heed_the_log()
    try:
        engine = open_engine(settings, ping=False)
        following = _following(settings, engine, lambda s, v: Metered(load(s, v), counts), breaker)
        model = following.begin()
    except Exception:
        log.exception("the model can't be loaded")
        os._exit(1)  # Celery would swallow the error and hand this child work
    clock = DatabaseClock(engine)
    lease = timedelta(seconds=settings.lease_seconds)
    keeper = LeaseKeeper(engine, clock, lease)
    keeper.start()
    queue = CeleryQueue(app, settings)
    own = partial(queues.own, app, settings, _identity(engine))
    sweep = Sweep(engine, clock, queue, settings.attempts, settings.high_water, own)
    Sweeper(sweep, settings.sweep_seconds).start()
    desk = Desk(
        engine=engine,
        clock=clock,
        keeper=keeper,
        owner=f"{socket.gethostname()}/{os.getpid()}",
        lease=lease,
        attempts=settings.attempts,
        question_chars=settings.question_chars,
        window=settings.job_size,
        meters=counts,
    )
    Drain(desk, draining, settings.drain_seconds).start()
    lanes = [Lane(name) for name in app.amqp.queues.consume_from]
    vitals = Vitals(
        engine,
        clock,
        slot=slot,
        lanes=lanes,
        model_version=lambda: following.version,
        failures=breaker.state,
    )
    log.info("model loaded", model=model)
    following.start()
    vitals.start()
    line = Line(
        desk,
        Attempts(desk, following, vitals, breaker, slot).answer,
        lanes=lanes,
        seconds=min(_ALONG_SECONDS, settings.job_time_limit / 10),
        enough=lambda: draining() or breaker.state()[1],
    )
    return tasks.Child(line, breaker)


def _identity(engine: sa.Engine) -> str:
    with reading(engine) as conn:
        return dialect.database_identity(conn)


def _following(settings: Settings, engine: sa.Engine, load: Load, breaker: Breaker) -> Following:
    cache = AnswerCache(settings.answer_cache)

    def look() -> InForce:
        with reading(engine) as conn:
            return versions.in_force(conn, settings.model)

    def let_go() -> None:
        breaker.forgive()
        give_back()

    return Following(
        look,
        lambda version: Remembering(load(settings, version), cache),
        seconds=settings.follow_seconds,
        let_go=let_go,
    )
