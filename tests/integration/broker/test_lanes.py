from __future__ import annotations

import base64
import json

import pytest
import redis
from celery import Celery

from broker import celery_config, ownership
from broker import lanes as queues
from core.domain.batch import Lane
from core.errors import BrokerInUse, BrokerUnavailable
from core.messages import TASK, AnswerJob, JobHint
from core.settings import load

SECRET = "hunter2"


def _message(job=1, lane=Lane.BULK):
    return AnswerJob(job=job, batch=7, lane=lane, size=128)


@pytest.fixture
def app_of():
    """Return a function that creates a Celery client, which is closed after the test."""
    apps = []

    def make(settings):
        app = Celery("test", set_as_current=False)
        app.conf.update(celery_config.celery_settings(settings))
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def settings(redis_url, home):
    return load.load(home=home, broker_url=redis_url)


@pytest.fixture
def client(redis_server):
    with redis.Redis(unix_socket_path=redis_server) as client:
        yield client


def test_messages_wait_in_their_lane(settings, app_of):
    app = app_of(settings)
    lanes = [Lane.BULK, Lane.INTERACTIVE, Lane.BULK]
    queues.send(
        app, [_message(number, lane) for number, lane in enumerate(lanes, start=1)], settings
    )
    assert queues.waiting(app, Lane.BULK, settings) == 2
    assert queues.waiting(app, Lane.INTERACTIVE, settings) == 1


def test_more_messages_than_one_pipeline_holds_all_arrive(settings, app_of):
    app = app_of(settings)
    queues.send(app, [_message(number) for number in range(1, 1_235)], settings)
    assert queues.waiting(app, Lane.BULK, settings) == 1_234


def test_sending_nothing_does_not_even_connect(home, app_of):
    unavailable = load.load(home=home, broker_url="redis://127.0.0.1:1/0")
    queues.send(app_of(unavailable), [], unavailable)


def test_what_waits_in_redis_is_understood_and_is_nothing_but_a_hint(settings, app_of, client):
    queues.send(app_of(settings), [_message(42)], settings)
    (key,) = [k for k in client.keys("*") if client.type(k) == b"list"]
    (raw,) = client.lrange(key, 0, -1)
    wire = json.loads(raw)
    assert wire["headers"]["task"] == TASK
    assert wire["headers"]["kwargsrepr"] == ""
    assert wire["headers"]["argsrepr"] == "batch=7 job=42 n=128 lane=bulk"
    _, kwargs, _ = json.loads(base64.b64decode(wire["body"]))
    assert JobHint.decode(kwargs) == JobHint(42)
    assert key.startswith(b"answermill:")


def test_a_redis_that_lost_all_has_nothing_waiting(settings, app_of, client):
    app = app_of(settings)
    queues.send(app, [_message()], settings)
    client.flushall()
    assert queues.waiting(app, Lane.BULK, settings) == 0


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1/0",
        f"redis+socket://:{SECRET}@/nowhere/redis.sock",
    ],
    ids=["refused", "no socket"],
)
def test_an_unavailable_redis_is_reported_without_its_password(url, home, app_of):
    unavailable = load.load(home=home, broker_url=url)
    app = app_of(unavailable)
    app.conf.broker_transport_options |= {"connect_retries_timeout": 0.1, "interval_start": 0.1}
    for call in (
        lambda: queues.send(app, [_message()], unavailable),
        lambda: queues.waiting(app, Lane.BULK, unavailable),
    ):
        with pytest.raises(BrokerUnavailable) as caught:
            call()
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_producer_and_a_worker_agree_on_lanes_and_json_alone(home):
    agreed = celery_config.celery_settings(load.load(home=home))
    assert set(agreed["task_queues"]) == {lane.value for lane in Lane}
    assert (agreed["task_serializer"], agreed["accept_content"]) == ("json", ["json"])
    assert agreed["task_ignore_result"]


def test_no_message_is_given_out_again_while_its_job_may_still_run(home):
    settings = load.load(home=home, job_time_limit=5_000)
    options = celery_config.celery_settings(settings)["broker_transport_options"]
    assert options["visibility_timeout"] > settings.job_time_limit


def test_a_redis_belongs_to_the_workers_of_one_database(settings, app_of, client):
    app = app_of(settings)
    assert ownership.broker_owner(app, settings) is None
    ownership.claim_broker(app, settings, "first")
    ownership.claim_broker(app, settings, "first")
    with pytest.raises(BrokerInUse, match="another database"):
        ownership.claim_broker(app, settings, "second")
    assert ownership.broker_owner(app, settings) == "first"
    assert client.ttl("answermill:stack") > 0


def test_a_redis_that_was_left_or_lost_everything_may_be_anothers(settings, app_of, client):
    app = app_of(settings)
    ownership.claim_broker(app, settings, "first")
    client.flushall()
    ownership.claim_broker(app, settings, "second")
    assert ownership.broker_owner(app, settings) == "second"


def test_owning_it_for_longer_is_what_every_sweep_does(settings, app_of, client):
    app = app_of(settings)
    ownership.claim_broker(app, settings, "first")
    client.expire("answermill:stack", 1)
    ownership.claim_broker(app, settings, "first")
    assert client.ttl("answermill:stack") > 1
