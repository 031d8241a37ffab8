"""What the worker's parent does with a message: hand it to a child, or refuse it.

Celery lets some malformed messages raise in the parent, which dies of it; the message goes
back to its lane and kills the next one, so that a single message stops every worker. Here
the message is tried first. Covers messages that Celery's transport can read; one that it
can't is gone from Redis by then, and costs one restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.request import Request
from celery.worker.strategy import default

log = structlog.get_logger()

_PARTS = 3  # args, kwargs and what chains and groups need


def guarded(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., None]:  # noqa: ANN401 - Celery has no annotations
    """Return Celery's way of taking a message in, behind the test."""
    take = default(task, app, consumer, **options)

    def refuse(message: Any, error: Exception) -> None:  # noqa: ANN401
        # Like the task's own refusal: a job that it meant stays queued, and is sent again.
        log.error("message refused", error=type(error).__name__)
        message.reject_log_error(logging.getLogger(__name__), consumer.connection_errors)

    def take_or_refuse(message: Any, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        try:
            _try(message, task, app)
        except Exception as error:  # noqa: BLE001 - whatever a message can make Celery raise
            refuse(message, error)
        else:
            take(message, *rest, **more)

    # Celery's own refusal of a task that it does not know raises when the message has no id.
    consumer.on_unknown_task = lambda _body, message, error: refuse(message, error)
    return take_or_refuse


def _try(message: Any, task: Any, app: Any) -> None:  # noqa: ANN401
    args, kwargs, _ = _parts(message.payload)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TypeError("args and kwargs")
    Request(message, app=app, task=task, hostname="", body=message.body, decoded=False)


def _parts(payload: object) -> list[object]:
    if not isinstance(payload, list) or len(payload) != _PARTS:
        raise TypeError("not three parts")
    return payload
