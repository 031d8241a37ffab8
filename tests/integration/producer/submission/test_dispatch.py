"""A Redis that is unavailable at the start, fails midway, or is full."""

from __future__ import annotations

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.client import check, open_broker
from core.domain.batch import Lane
from core.errors import BrokerUnavailable
from producer.submission.dispatch import JobDispatcher
from tests import services
from tests.factories import job_rows


@pytest.fixture
def own_redis(settings, home):
    """Return settings, a client and the socket of a Redis that the test may stop."""
    with services.redis_server(home) as socket:
        own = settings.model_copy(update={"broker_url": SecretStr(f"redis+socket://{socket}")})
        with open_broker(own) as client:
            yield own, client, socket


def _stop(socket):
    once = Retry(NoBackoff(), 0)  # a retry would look for the stopped server
    with redis.Redis(unix_socket_path=socket, retry=once) as connection:
        connection.shutdown(nosave=True)


def test_unavailable_redis_at_the_start_stores_nothing(submitted, write, stored, own_redis):
    settings, client, socket = own_redis
    _stop(socket)
    with pytest.raises(BrokerUnavailable) as caught:
        submitted(write("july.csv", 9), settings=settings, client=client)
    assert str(caught.value).startswith(f"Redis redis+socket://{socket}: ")
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize("moment", [0, 4, 8])
def test_redis_failing_midway_stores_every_question_and_is_reported_once(
    moment, submitted, write, own_redis, all_there_once
):
    settings, client, socket = own_redis
    calls: list[str] = []
    done = submitted(
        write("july.csv", 9),
        settings=settings,
        client=client,
        on_progress=lambda n: n == moment and _stop(socket),
        on_redis_unavailable=lambda: calls.append("unavailable"),
    )
    all_there_once(done.batch.id, 9)
    assert calls == ["unavailable"]


def test_an_unsent_job_is_marked_for_the_sweep(engine, submitted, write, own_redis):
    settings, client, socket = own_redis
    values = {"settings": settings, "client": client, "on_progress": lambda n: n or _stop(socket)}
    done = submitted(write("july.csv", 9), **values)
    assert [row.sent_at for row in job_rows(engine, done.batch)] == [None] * 5


def test_a_full_lane_leaves_the_rest_to_the_sweep(engine, settings, submitted, write, waiting):
    low = settings.model_copy(update={"high_water": 2})
    done = submitted(write("july.csv", 9), settings=low)
    assert waiting(Lane.BULK) == 2
    assert [row.sent_at is None for row in job_rows(engine, done.batch)] == [False] * 2 + [True] * 3


def test_a_redis_that_is_full_stops_nothing(submitted, write, own_redis, all_there_once):
    settings, client, socket = own_redis
    with redis.Redis(unix_socket_path=socket) as connection:
        connection.config_set("maxmemory", 1)
        connection.config_set("maxmemory-policy", "noeviction")
    calls: list[str] = []
    values = {
        "settings": settings,
        "client": client,
        "on_redis_unavailable": lambda: calls.append("unavailable"),
    }
    all_there_once(submitted(write("july.csv", 9), **values).batch.id, 9)
    assert calls == ["unavailable"]


def test_an_embedded_redis_that_does_not_run_is_reported_with_the_command(settings):
    embedded = settings.model_copy(update={"broker_url": None})
    with open_broker(embedded) as client, pytest.raises(BrokerUnavailable, match="answermill up"):
        check(client, embedded)


def test_a_failed_redis_is_not_queried_again(own_redis):
    settings, client, socket = own_redis
    calls: list[str] = []
    dispatcher = JobDispatcher(client, settings, lambda: calls.append("unavailable"))
    assert dispatcher.free_slots(Lane.BULK) == settings.high_water
    _stop(socket)
    assert [dispatcher.free_slots(Lane.BULK), dispatcher.free_slots(Lane.BULK)] == [0, 0]
    assert calls == ["unavailable"]
