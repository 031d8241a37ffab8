"""What the worker's parent does with a message: hand it to a child, or refuse it.

Celery lets some malformed messages raise in the parent, which dies of it; the message goes
back to its lane and kills the next one, so that a single message stops every worker. Here
the message is tried first, and whatever one raises all the same ends that message alone.
Redis itself may refuse, too, out of memory for example: then it is asked again every second.
What is no message at all is refused before it comes here: `worker.process.connection`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default

log = structlog.get_logger()

_RETRY_SECONDS = 1.0
_PARTS = 3  # args, kwargs and what chains and groups need


class SafeConsumer(Consumer):  # type: ignore[misc]  # Celery has no annotations
    """Celery's consumer, which outlives every message."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:  # noqa: ANN401
        """Return what takes a message in, or refuses it."""
        take = super().create_task_handler(*args, **options)

        def take_or_refuse(message: Any) -> None:  # noqa: ANN401
            try:
                take(message)
            except Exception as error:
                # kombu counts a KeyError among those of the connection: a message that raises one
                # would come back with each new connection.
                if isinstance(error, self.connection_errors) and not isinstance(error, KeyError):
                    raise
                self._refuse(message, error)

        return take_or_refuse

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Tell it, and wait a moment if Redis is there and refuses: it is asked again at once."""
        super().on_connection_error_before_connected(exc)
        self._wait(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The same, with a connection."""
        super().on_connection_error_after_connected(exc)
        self._wait(exc)

    def _wait(self, error: Exception) -> None:
        if not isinstance(error, self.connection_errors):
            time.sleep(_RETRY_SECONDS)

    # Celery's own refusals show a traceback and the body, and some raise.

    def on_unknown_message(self, _body: object, message: Any) -> None:  # noqa: ANN401
        """Refuse what is no task."""
        self._refuse(message, InvalidTaskError())

    def on_unknown_task(self, _body: object, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse what is no task of ours."""
        self._refuse(message, exc)

    def on_invalid_task(self, _body: object, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse what is no good task."""
        self._refuse(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse what can't be read."""
        self._refuse(message, exc)

    def _refuse(self, message: Any, error: Exception) -> None:  # noqa: ANN401
        # Like the task's own refusal: a job that it meant stays queued, and is sent again.
        log.error("message refused", error=type(error).__name__)
        message.reject_log_error(logging.getLogger(__name__), self.connection_errors)


def validated_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., None]:  # noqa: ANN401 - Celery has no annotations
    """Return Celery's way of taking a message in, behind a test of it."""
    take = default(task, app, consumer, **options)

    def try_and_take(message: Any, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        try:
            _try(message, task, app)
        except Exception as error:  # an OSError, for a time that is none, is the message's fault
            raise InvalidTaskError(type(error).__name__) from error
        take(message, *rest, **more)

    return try_and_take


def _try(message: Any, task: Any, app: Any) -> None:  # noqa: ANN401
    args, kwargs, _ = _parts(message.payload)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TypeError("args and kwargs")
    Request(message, app=app, task=task, hostname="", body=message.body, decoded=False)


def _parts(payload: object) -> list[object]:
    if not isinstance(payload, list) or len(payload) != _PARTS:
        raise TypeError("not three parts")
    return payload
