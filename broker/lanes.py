"""Redis's side: the Celery settings that both ends share, and how messages are sent.

Covers one Redis or Valkey; Redis Cluster and Sentinel are refused by the settings.
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


# Messages of one pipelined write; a slice of a batch has fewer.
_PIPELINE = 500


def send(app: Celery, messages: Sequence[AnswerJob], settings: Settings) -> None:
    """Send the messages, pipelined.

    Raises:
        BrokerUnavailable: some or all may not have been sent; the sweep sends them again.
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
        BrokerUnavailable: Redis does not answer.
    """
    with _translated(settings), app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(lane.value))


@contextmanager
def _plain_client(app: Celery, settings: Settings) -> Iterator[Redis]:
    # kombu's own client puts the prefix before the keys of some commands only.
    with _translated(settings), app.connection_for_write() as connection:
        yield Redis(connection_pool=connection.default_channel.client.connection_pool)


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """How much memory Redis uses, in bytes."""

    used: int
    limit: int  # 0: none is set


def memory(app: Celery, settings: Settings) -> RedisMemory:
    """Return how much memory Redis uses.

    Raises:
        BrokerUnavailable: Redis does not answer, or does not tell this user.
    """
    with _translated(settings), app.connection_for_write() as connection:
        told = connection.default_channel.client.info("memory")
        return RedisMemory(int(told["used_memory"]), int(told["maxmemory"]))


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (KombuError, OperationalError, RedisError, OSError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokerUnavailable(redact(settings.broker), tls.fault_of(error) or told) from error
