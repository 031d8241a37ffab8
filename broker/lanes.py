"""Redis's side: the Celery settings that both ends share, and how messages are sent.

Covers one Redis or Valkey; Redis Cluster and Sentinel are refused by the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.exceptions import KombuError, OperationalError
from redis import Redis
from redis.exceptions import RedisError

from db import tls
from db.config import Settings, redact
from db.entities import Lane
from db.errors import BrokerAway, BrokerTaken
from db.messages import TASK, AnswerJob

if TYPE_CHECKING:
    from celery import Celery

_PREFIX = "answermill:"

# Whose workers use this Redis. Renewed by every sweep; a stack that is gone is soon forgotten.
_OWNER = f"{_PREFIX}stack"
_OWNED_SECONDS = 120

# Messages of one pipelined write; a slice of a batch has fewer.
_PIPELINE = 500

# A connection whose other end has gone without a word is found dead after twice as long.
_HEALTH_SECONDS = 4


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return what producers and workers must agree on."""
    return {
        "broker_url": settings.broker,
        "broker_use_ssl": tls.redis_options(settings),
        "result_backend": None,  # results are rows
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": Lane.BULK.value,
        "task_queues": {
            lane.value: {"exchange": lane.value, "routing_key": lane.value} for lane in Lane
        },
        "task_create_missing_queues": False,
        "task_send_sent_event": True,
        "timezone": "UTC",
        "enable_utc": True,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "global_keyprefix": _PREFIX,
            # A message is only a hint and the sweep sends again what matters, so this needs
            # to be no shorter than the longest job; see docs/reference/settings.md.
            "visibility_timeout": settings.job_time_limit + 600,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_restore_limit": 500,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": not settings.broker.startswith("redis+socket"),
            "health_check_interval": _HEALTH_SECONDS,
            "queue_order_strategy": "priority",
        },
    }


def send(app: Celery, messages: Sequence[AnswerJob], settings: Settings) -> None:
    """Send the messages, pipelined.

    Raises:
        BrokerAway: some or all may not have been sent; the sweep sends them again.
    """
    if not messages:
        return
    with (
        _translated(settings),
        app.producer_pool.acquire(block=True) as producer,
        producer.batch(_PIPELINE),
    ):
        for message in messages:
            app.send_task(
                TASK,
                kwargs=message.encode(),
                queue=message.lane.value,
                producer=producer,
                argsrepr=message.caption,
                kwargsrepr="",
                retry=False,
            )


def waiting(app: Celery, lane: Lane, settings: Settings) -> int:
    """Return how many messages of the lane wait in Redis.

    Raises:
        BrokerAway: Redis does not answer.
    """
    with _translated(settings), app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(lane.value))


def owner(app: Celery, settings: Settings) -> str | None:
    """Return the identity of the database whose workers use Redis; None: there are none.

    Raises:
        BrokerAway: Redis does not answer.
    """
    with _plain_client(app, settings) as client:
        found = client.get(_OWNER)
    return found.decode() if isinstance(found, bytes) else None


def own(app: Celery, settings: Settings, identity: str) -> None:
    """Say for a while that Redis belongs to the workers of a database.

    Raises:
        BrokerAway: Redis does not answer.
        BrokerTaken: it belongs to those of another one.
    """
    with _plain_client(app, settings) as client:
        if client.set(_OWNER, identity, nx=True, ex=_OWNED_SECONDS):
            return
        found = client.get(_OWNER)
        if isinstance(found, bytes) and found.decode() != identity:
            raise BrokerTaken(redact(settings.broker))
        client.expire(_OWNER, _OWNED_SECONDS)


@contextmanager
def _plain_client(app: Celery, settings: Settings) -> Iterator[Redis]:
    # kombu's own client puts the prefix before the keys of some commands only.
    with _translated(settings), app.connection_for_write() as connection:
        yield Redis(connection_pool=connection.default_channel.client.connection_pool)


@dataclass(frozen=True, slots=True)
class Memory:
    """How much memory Redis uses, in bytes."""

    used: int
    limit: int  # 0: none is set


def memory(app: Celery, settings: Settings) -> Memory:
    """Return how much memory Redis uses.

    Raises:
        BrokerAway: Redis does not answer, or does not tell this user.
    """
    with _translated(settings), app.connection_for_write() as connection:
        told = connection.default_channel.client.info("memory")
        return Memory(int(told["used_memory"]), int(told["maxmemory"]))


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (KombuError, OperationalError, RedisError, OSError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokerAway(redact(settings.broker), tls.fault_of(error) or told) from error
