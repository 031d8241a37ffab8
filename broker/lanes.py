"""The lanes in Redis: sending and counting messages, reading memory use.

Every fault of Redis or kombu is raised as `BrokerUnavailable`, with the URL redacted.
Not covered: Redis Cluster and Sentinel, which the settings refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kombu.exceptions import KombuError, OperationalError
from redis import Redis
from redis.exceptions import RedisError

from core import tls
from core.domain.batch import Lane
from core.errors import BrokerUnavailable
from core.messages import TASK, AnswerJob
from core.settings.settings import Settings
from core.settings.urls import redact

if TYPE_CHECKING:
    from celery import Celery

# Messages of one pipelined write; higher: fewer round trips, more memory. A slice has fewer.
_PIPELINE_MESSAGES = 500


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """The memory that Redis uses, in bytes."""

    used: int
    limit: int  # 0: no limit


def send(app: Celery, messages: Sequence[AnswerJob], settings: Settings) -> None:
    """Send the messages, pipelined.

    Raises:
        BrokerUnavailable: some or all may not have been sent; the sweep sends them again.
    """
    if not messages:
        return
    with (
        _broker_errors(settings),
        app.producer_pool.acquire(block=True) as producer,
        producer.batch(_PIPELINE_MESSAGES),
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
        BrokerUnavailable: Redis does not answer.
    """
    with _broker_errors(settings), app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(lane.value))


def memory(app: Celery, settings: Settings) -> RedisMemory:
    """Return how much memory Redis uses.

    Raises:
        BrokerUnavailable: Redis does not answer, or this user may not run INFO.
    """
    with _broker_errors(settings), app.connection_for_write() as connection:
        info = connection.default_channel.client.info("memory")
        return RedisMemory(int(info["used_memory"]), int(info["maxmemory"]))


@contextmanager
def plain_client(app: Celery, settings: Settings) -> Iterator[Redis]:
    """Yield a Redis client that adds no prefix to keys.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    # kombu's own client adds the prefix to the keys of some commands only.
    with _broker_errors(settings), app.connection_for_write() as connection:
        yield Redis(connection_pool=connection.default_channel.client.connection_pool)


@contextmanager
def _broker_errors(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (KombuError, OperationalError, RedisError, OSError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokerUnavailable(redact(settings.broker), tls.fault_of(error) or message) from error
