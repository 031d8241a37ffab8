"""What SQL and Redis say of the whole system, as Prometheus metrics.

Read anew at each scrape, so that nothing is kept here and any number of these may run. What
workers count and time themselves, they serve themselves (`worker.monitoring.metrics`). A service that is
away is itself told, and what it knows is left out: a gap says more than a stale figure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker import lanes as queues
from core.domain.batch import Lane
from core.domain.model_version import ModelVersion, VersionState
from core.domain.replica import ReplicaStatus
from core.errors import BrokerUnavailable, DatabaseUnavailable
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import backlog, model_versions, replicas
from db.queries.backlog import Backlog
from db.session import reading

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger()

_IN_FORCE = (VersionState.PRODUCTION, VersionState.CANARY)


class SystemCollector(Collector):
    """Reads the system's state when it is asked to; scrapes take turns."""

    def __init__(self, engine: sa.Engine, client: Celery, settings: Settings) -> None:
        self._engine, self._client, self._settings = engine, client, settings
        self._clock = DatabaseClock(engine)
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Name nothing: whoever registers this must not scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return every metric.

        Whatever goes wrong but a service's absence is raised: the scrape fails.
        """
        with self._lock:
            stored, queue = self._of_sql(), self._of_redis()
        up = _gauge("service_up", "Whether the service answers: 1, or 0.", "service")
        up.add_metric(["database"], float(bool(stored)))
        up.add_metric(["redis"], float(bool(queue)))
        yield from [up, *stored, *queue]

    def _of_sql(self) -> list[Metric]:
        try:
            now = self._clock()
            with reading(self._engine) as conn:
                lanes = backlog.by_lane(conn, now)
                heard_of = replicas.listed(conn)
                models = [m for m in model_versions.listed(conn) if m.state in _IN_FORCE]
        except DatabaseUnavailable as error:
            log.warning("database not read", error=str(error))
            return []
        return [*_of_lanes(lanes, now), *_of_workers(heard_of, now), _of_models(models)]

    def _of_redis(self) -> list[Metric]:
        try:
            used = queues.memory(self._client, self._settings)
            waiting = {lane: queues.waiting(self._client, lane, self._settings) for lane in Lane}
        except BrokerUnavailable as error:
            log.warning("Redis not read", error=str(error))
            return []
        messages = _gauge("redis_messages", "Messages that wait in Redis.", "lane")
        for lane, count in waiting.items():
            messages.add_metric([lane.value], count)
        memory = _gauge("redis_memory_bytes", "Memory that Redis uses.")
        memory.add_metric([], used.used)
        limit = _gauge("redis_memory_limit_bytes", "Memory that it may use; 0: any.")
        limit.add_metric([], used.limit)
        return [messages, memory, limit]


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"answermill_{name}", documentation, labels=labels)


def _of_lanes(lanes: list[Backlog], now: datetime) -> list[Metric]:
    batches = _gauge("unfinished_batches", "Batches with jobs that wait or run.", "lane")
    jobs = _gauge("queued_jobs", "Jobs that wait for a worker.", "lane")
    waiting = _gauge("waiting_questions", "Questions that wait for a worker.", "lane")
    running = _gauge("running_questions", "Questions that workers have claimed.", "lane")
    oldest = _gauge("oldest_waiting_seconds", "How long the oldest job waits; 0: none.", "lane")
    for lane in lanes:
        label = [lane.lane.value]
        batches.add_metric(label, lane.batches)
        jobs.add_metric(label, lane.jobs)
        waiting.add_metric(label, lane.waiting)
        running.add_metric(label, lane.running)
        oldest.add_metric(label, _age(lane.oldest, now))
    return [batches, jobs, waiting, running, oldest]


def _of_workers(heard_of: list[ReplicaStatus], now: datetime) -> list[Metric]:
    info = _gauge("worker_info", "Replicas: always 1.", "worker", "state", "model_version")
    seen = _gauge("worker_silent_seconds", "Since it was last heard of.", "worker")
    progress = _gauge("worker_still_seconds", "Since it last got on with its work.", "worker")
    for worker in heard_of:
        info.add_metric([worker.name, worker.state.value, worker.model_version], 1)
        seen.add_metric([worker.name], _age(worker.seen_at, now))
        progress.add_metric([worker.name], _age(worker.progress_at, now))
    return [info, seen, progress]


def _of_models(models: list[ModelVersion]) -> Metric:
    info = _gauge("model_info", "Versions in force: always 1.", "model_version", "state")
    for model in models:
        info.add_metric([str(model), model.state.value], 1)
    return info


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
