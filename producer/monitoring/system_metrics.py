"""Prometheus metrics of the system, read from the database and Redis.

Each scrape reads them again, so this module keeps no state and any number of processes may run it.
If a service is unavailable, `service_up` is 0 and the metrics of that service are left out, because
a gap is clearer than a stale value.

Not covered: counters and timings of workers, see `worker.monitoring.metrics`.
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

from broker import lanes
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

_ACTIVE = (VersionState.PRODUCTION, VersionState.CANARY)


class SystemCollector(Collector):
    """A collector that reads the current state, one scrape at a time."""

    def __init__(self, engine: sa.Engine, client: Celery, settings: Settings) -> None:
        self._engine, self._client, self._settings = engine, client, settings
        self._clock = DatabaseClock(engine)
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return no names, so that registering the collector reads nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric.

        An unavailable service leaves a gap. Any other error fails the scrape.
        """
        with self._lock:
            stored, queue = self._of_sql(), self._of_redis()
        up = _gauge("service_up", "Whether the service answers: 1 or 0.", "service")
        up.add_metric(["database"], float(bool(stored)))
        up.add_metric(["redis"], float(bool(queue)))
        yield from [up, *stored, *queue]

    def _of_sql(self) -> list[Metric]:
        try:
            now = self._clock()
            with reading(self._engine) as conn:
                backlogs = backlog.by_lane(conn, now)
                workers = replicas.listed(conn)
                models = [v for v in model_versions.listed(conn) if v.state in _ACTIVE]
        except DatabaseUnavailable as error:
            log.warning("database not read", error=str(error))
            return []
        return [*_of_lanes(backlogs, now), *_of_workers(workers, now), _of_models(models)]

    def _of_redis(self) -> list[Metric]:
        try:
            redis_memory = lanes.memory(self._client, self._settings)
            waiting = {lane: lanes.waiting(self._client, lane, self._settings) for lane in Lane}
        except BrokerUnavailable as error:
            log.warning("Redis not read", error=str(error))
            return []
        messages = _gauge("redis_messages", "Messages that wait in Redis.", "lane")
        for lane, count in waiting.items():
            messages.add_metric([lane.value], count)
        memory = _gauge("redis_memory_bytes", "Memory that Redis uses.")
        memory.add_metric([], redis_memory.used)
        limit = _gauge("redis_memory_limit_bytes", "Memory limit of Redis; 0: no limit.")
        limit.add_metric([], redis_memory.limit)
        return [messages, memory, limit]


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"answermill_{name}", documentation, labels=labels)


def _of_lanes(backlogs: list[Backlog], now: datetime) -> list[Metric]:
    batches = _gauge("unfinished_batches", "Batches with jobs that wait or run.", "lane")
    jobs = _gauge("queued_jobs", "Jobs that wait for a worker.", "lane")
    waiting = _gauge("waiting_questions", "Questions that wait for a worker.", "lane")
    running = _gauge("running_questions", "Questions that workers have claimed.", "lane")
    oldest = _gauge("oldest_waiting_seconds", "Age of the oldest queued job; 0: no job.", "lane")
    for item in backlogs:
        label = [item.lane.value]
        batches.add_metric(label, item.batches)
        jobs.add_metric(label, item.jobs)
        waiting.add_metric(label, item.waiting)
        running.add_metric(label, item.running)
        oldest.add_metric(label, _age(item.oldest, now))
    return [batches, jobs, waiting, running, oldest]


def _of_workers(workers: list[ReplicaStatus], now: datetime) -> list[Metric]:
    info = _gauge("worker_info", "Replicas: always 1.", "worker", "state", "model_version")
    seen = _gauge("worker_seconds_since_heartbeat", "Seconds since the last heartbeat.", "worker")
    progress = _gauge("worker_seconds_since_progress", "Seconds since the last progress.", "worker")
    for worker in workers:
        info.add_metric([worker.name, worker.state.value, worker.model_version], 1)
        seen.add_metric([worker.name], _age(worker.seen_at, now))
        progress.add_metric([worker.name], _age(worker.progress_at, now))
    return [info, seen, progress]


def _of_models(models: list[ModelVersion]) -> Metric:
    info = _gauge("model_info", "Active versions: always 1.", "model_version", "state")
    for model in models:
        info.add_metric([str(model), model.state.value], 1)
    return info


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
