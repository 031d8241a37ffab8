"""Redis away at the start, in the middle, or full."""

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
    """Settings, a client and the socket of a Redis that the test may stop."""
    with services.redis_server(home) as socket:
        own = settings.model_copy(
            update={"broker_url": SecretStr(f"redis+socket://{socket}")}
        )
        with open_broker(own) as client:
            yield own, client, socket


def _stop(socket):
    once = Retry(NoBackoff(), 0)  # it would look for the server that it has just stopped
    with redis.Redis(unix_socket_path=socket, retry=once) as connection:
        connection.shutdown(nosave=True)


def test_redis_away_at_the_start_stores_nothing(submitted, write, stored, own_redis):
    settings, client, socket = own_redis
    _stop(socket)
    with pytest.raises(BrokerUnavailable) as caught:
        submitted(write("july.csv", 9), settings=settings, client=client)
    assert str(caught.value).startswith(f"Redis redis+socket://{socket}: ")
    assert stored() == (0, 0, 0)


@pytest.mark.parametrize("moment", [0, 4, 8])
def test_redis_gone_in_the_middle_stores_all_the_same_and_is_told_once(
    moment, submitted, write, own_redis, all_there_once
):
    settings, client, socket = own_redis
    told: list[str] = []
    done = submitted(
        write("july.csv", 9),
        settings=settings,
        client=client,
        on_progress=lambda n: n == moment and _stop(socket),
        on_away=lambda: told.append("away"),
    )
    all_there_once(done.batch.id, 9)
    assert told == ["away"]


def test_what_could_not_be_sent_is_marked_for_the_sweep(engine, submitted, write, own_redis):
    settings, client, socket = own_redis
    away = {"settings": settings, "client": client, "on_progress": lambda n: n or _stop(socket)}
    done = submitted(write("july.csv", 9), **away)
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
    told: list[str] = []
    away = {"settings": settings, "client": client, "on_away": lambda: told.append("away")}
    all_there_once(submitted(write("july.csv", 9), **away).batch.id, 9)
    assert told == ["away"]


def test_an_embedded_redis_that_does_not_run_is_told_with_the_command(settings):
    embedded = settings.model_copy(update={"broker_url": None})
    with open_broker(embedded) as client, pytest.raises(BrokerUnavailable, match="answermill up"):
        check(client, embedded)


def test_after_redis_left_nothing_is_asked_of_it(own_redis):
    settings, client, socket = own_redis
    told: list[str] = []
    sender = JobDispatcher(client, settings, lambda: told.append("away"))
    assert sender.room(Lane.BULK) == settings.high_water
    _stop(socket)
    assert [sender.room(Lane.BULK), sender.room(Lane.BULK)] == [0, 0]
    assert told == ["away"]
