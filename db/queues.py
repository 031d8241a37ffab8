"""Redis's side: the Celery settings that both ends share, and how messages are sent.

Covers one Redis or Valkey; Redis Cluster and Sentinel are refused by the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from db.config import Settings, redact
from db.entities import Lane
from db.errors import BrokerAway
from db.messages import TASK, AnswerJob

if TYPE_CHECKING:
    from celery import Celery

# Messages of one pipelined write; a slice of a batch has fewer.
_PIPELINE = 500

# A connection whose other end has gone without a word is found dead after twice as long.
_HEALTH_SECONDS = 4


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return what producers and workers must agree on."""
    return {
        "broker_url": settings.broker,
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
            "global_keyprefix": "answermill:",
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
    with _translated(settings), app.connection_for_write() as connection:
        return int(connection.default_channel.client.llen(lane.value))


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (KombuError, OperationalError, RedisError, OSError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokerAway(redact(settings.broker), problem) from error
