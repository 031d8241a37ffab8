"""CAPTION broker.celery_config."""

from __future__ import annotations

from typing import Any

from broker import tls_options
from core.domain.batch import Lane
from core.settings.settings import Settings

_PREFIX = "answermill:"


# A connection whose other end has gone without a word is found dead after twice as long.
_HEALTH_SECONDS = 4


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return what producers and workers must agree on."""
    return {
        "broker_url": settings.broker,
        "broker_use_ssl": tls_options.redis_options(settings),
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
