"""The metrics of the system, read as Prometheus reads them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from broker import lanes
from broker.client import open_broker
from core.domain.batch import BatchState, Lane
from core.domain.replica import ReplicaState, ReplicaStatus
from core.domain.result import Status
from core.messages import AnswerJob
from core.settings import load
from db.clock import DatabaseClock
from db.queries import replicas
from db.session import transaction
from db.tables import batches as b
from producer.monitoring.system_metrics import SystemCollector
from tests.factories import (
    NOW,
    built_version,
    finish,
    open_batch,
    promoted_version,
    result,
    running_job,
    stored_batch,
)

DOCS = Path(__file__).parents[4] / "docs" / "reference" / "metrics.md"


def _samples(text):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scraped(engine, client, settings):
    """Return the samples of a scrape by name and labels."""

    def scraped(client=client, settings=settings):
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SystemCollector(engine, client, settings))
        return _samples(generate_latest(registry).decode())

    return scraped


def test_an_empty_system_has_zeros(scraped):
    samples = scraped()
    for lane in Lane:
        for name in ("waiting_questions", "running_questions", "oldest_waiting_seconds"):
            assert samples[f"answermill_{name}", lane] == 0
    assert (
        samples["answermill_service_up", "database"]
        == samples["answermill_service_up", "redis"]
        == 1
    )


def test_waiting_and_running_questions_are_counted_by_lane(engine, scraped):
    batch = stored_batch(engine, 5, job_size=2, name="bulk")
    running_job(engine, batch)
    stored_batch(engine, 3, job_size=3, name="quick", lane=Lane.INTERACTIVE)
    samples = scraped()
    assert samples["answermill_waiting_questions", "bulk"] == 3
    assert samples["answermill_running_questions", "bulk"] == 2
    assert samples["answermill_queued_jobs", "bulk"] == 2
    assert samples["answermill_waiting_questions", "interactive"] == 3
    assert samples["answermill_unfinished_batches", "interactive"] == 1
    waited = DatabaseClock(engine)() - NOW
    assert samples["answermill_oldest_waiting_seconds", "bulk"] == pytest.approx(
        waited.total_seconds(), abs=60
    )


def test_final_questions_do_not_wait(engine, scraped):
    finish(engine, running_job(engine, stored_batch(engine, 2, name="done")))
    stopped = stored_batch(engine, 4, name="cancelled")
    with transaction(engine) as conn:
        conn.execute(b.update().where(b.c.id == stopped.id).values(state=BatchState.CANCELLED))
    stored_batch(engine, 4, name="too late", deadline=NOW + timedelta(seconds=1))
    samples = scraped()
    assert samples["answermill_waiting_questions", "bulk"] == 0
    assert samples["answermill_oldest_waiting_seconds", "bulk"] == 0


def test_workers_and_the_active_versions_are_reported(engine, scraped):
    now = DatabaseClock(engine)()
    worker = ReplicaStatus(
        name="host/1/0",
        host="host",
        lanes="bulk",
        state=ReplicaState.PAUSED,
        job_id=None,
        model_version="shop@1",
        failures=5,
        started_at=NOW,
        seen_at=now - timedelta(seconds=100),
        progress_at=now - timedelta(seconds=700),
    )
    promoted_version(engine)
    built_version(engine, digest="d2")
    with transaction(engine) as conn:
        replicas.report(conn, worker)
    samples = scraped()
    assert samples["answermill_worker_info", "shop@1", "paused", "host/1/0"] == 1
    assert samples["answermill_worker_seconds_since_heartbeat", "host/1/0"] == pytest.approx(
        100, abs=30
    )
    assert samples["answermill_worker_seconds_since_progress", "host/1/0"] == pytest.approx(
        700, abs=30
    )
    models = {key[1:] for key in samples if key[0] == "answermill_model_info"}
    assert models == {("shop@1", "production")}


def test_redis_shows_its_messages_and_its_memory(client, settings, scraped):
    messages = [AnswerJob(job=n, batch=1, lane=Lane.BULK, size=1) for n in range(1, 4)]
    lanes.send(client, messages, settings)
    samples = scraped()
    assert samples["answermill_redis_messages", "bulk"] == 3
    assert samples["answermill_redis_messages", "interactive"] == 0
    assert samples["answermill_redis_memory_bytes",] > 100_000
    assert samples["answermill_redis_memory_limit_bytes",] >= 0


def test_unavailable_redis_is_reported_and_other_metrics_stay(engine, settings, scraped):
    stored_batch(engine, 4)
    unreachable = settings.model_copy(
        update={"broker_url": load.load(broker_url="redis://127.0.0.1:1").broker_url}
    )
    with open_broker(unreachable) as client:
        samples = scraped(client, unreachable)
    assert samples["answermill_service_up", "redis"] == 0
    assert samples["answermill_waiting_questions", "bulk"] == 4
    assert not any(key[0].startswith("answermill_redis") for key in samples)


def test_no_metric_holds_a_question_or_the_name_of_a_batch(engine, client, settings):
    batch = stored_batch(engine, 4, name="zebra-batch", source="zebra.csv")
    job = running_job(engine, batch)
    finish(engine, job, [result(1), result(2, Status.HANDED_OFF)])
    open_batch(engine, name="zebra")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SystemCollector(engine, client, settings))
    samples = generate_latest(registry).decode()
    assert "zebra" not in samples
    assert "parcel" not in samples


def test_the_page_lists_every_metric_of_the_system_and_no_other(engine, client, settings):
    section = DOCS.read_text().split("## `answermill metrics`")[1].split("## Each worker")[0]
    written = set(re.findall(r"^\| (answermill_\w+)", section, flags=re.MULTILINE))
    assert written == {
        family.name for family in SystemCollector(engine, client, settings).collect()
    }


@pytest.mark.usefixtures("environment")
def test_the_command_serves_until_it_is_stopped(engine):
    stored_batch(engine, 4)
    command = [sys.executable, "-m", "stack", "metrics", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        address = said.removeprefix("metrics: ").strip()
        with urllib.request.urlopen(address, timeout=30) as page:  # noqa: S310 - the URL of this test
            samples = _samples(page.read().decode())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert samples["answermill_waiting_questions", "bulk"] == 4


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("words", [["--address", "nowhere"], ["--port", "70000"]])
def test_an_address_that_is_invalid_is_reported_on_one_line(words):
    command = [sys.executable, "-m", "stack", "metrics", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words[0] in done.stderr
