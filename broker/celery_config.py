"""The Celery settings on which producers and workers must agree.

One queue per lane, JSON messages, no result backend: results are rows in the database.
Not covered: the worker's own settings (`worker.process`) and the sending of messages
(`broker.lanes`).
"""

from __future__ import annotations

from typing import Any

from broker import tls_options
from core.domain.batch import Lane
from core.settings.settings import Settings

KEY_PREFIX = "answermill:"  # of every key that Answermill has in Redis

# Seconds between two pings of an idle connection; higher: fewer commands, but a connection that
# was cut without a reset is detected later. Detection takes up to twice as long.
_HEALTH_CHECK_SECONDS = 4

# Seconds by which the visibility timeout exceeds the longest job; higher: later redelivery.
_REDELIVERY_MARGIN_SECONDS = 600


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return the Celery settings that producers and workers share."""
    return {
        "broker_url": settings.broker,
        "broker_use_ssl": tls_options.redis_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": _transport_options(settings),
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
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    return {
        "global_keyprefix": KEY_PREFIX,
        # Redelivery is not what recovers a job: the sweep sends lost jobs again. A timeout below
        # the longest job would only send duplicates; see docs/reference/settings.md.
        "visibility_timeout": settings.job_time_limit + _REDELIVERY_MARGIN_SECONDS,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_restore_limit": 500,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": not settings.broker.startswith("redis+socket"),
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "queue_order_strategy": "priority",
    }
