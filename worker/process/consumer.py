"""A Celery consumer that no malformed message can end.

Some malformed messages raise in Celery's parent process and end it. The message then returns
to its lane and ends the next worker. `validated_strategy` checks a message before Celery
accepts it. `SafeConsumer` refuses a message that raises nevertheless, and waits a second
before it retries a Redis that refuses commands, for example because it is out of memory.
Not covered: bytes that are not a message. `worker.process.connection` refuses them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog

# The overridden methods and the arguments of Request are internals of Celery. pyproject.toml pins
# Celery to 5.7.x: check this module before a wider range.
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from celery.worker.strategy import default

log = structlog.get_logger()

_RETRY_SECONDS = 1.0
_BODY_PARTS = 3  # args, kwargs, and the options of chains and groups


class SafeConsumer(Consumer):  # type: ignore[misc]  # Celery has no annotations
    """A consumer that refuses a message instead of raising."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:  # noqa: ANN401
        """Return a function that accepts or refuses a message."""
        accept = super().create_task_handler(*args, **options)

        def accept_or_refuse(message: Any) -> None:  # noqa: ANN401
            try:
                accept(message)
            except Exception as error:
                # kombu lists KeyError among the connection errors. If it passed through, the
                # message would be delivered again with each new connection.
                if isinstance(error, self.connection_errors) and not isinstance(error, KeyError):
                    raise
                self._refuse(message, error)

        return accept_or_refuse

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Handle the error like Celery, then pause if Redis refuses commands.

        Celery retries at once.
        """
        super().on_connection_error_before_connected(exc)
        self._pause_if_refused(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Handle the error like Celery, then pause if Redis refuses commands."""
        super().on_connection_error_after_connected(exc)
        self._pause_if_refused(exc)

    def _pause_if_refused(self, error: Exception) -> None:
        if not isinstance(error, self.connection_errors):
            time.sleep(_RETRY_SECONDS)

    # Celery's own handlers log a traceback and the body, and some of them raise.

    def on_unknown_message(self, _body: object, message: Any) -> None:  # noqa: ANN401
        """Refuse a message that is not a task."""
        self._refuse(message, InvalidTaskError())

    def on_unknown_task(self, _body: object, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse a task with an unknown name."""
        self._refuse(message, exc)

    def on_invalid_task(self, _body: object, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse a malformed task."""
        self._refuse(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:  # noqa: ANN401
        """Refuse a message that cannot be decoded."""
        self._refuse(message, exc)

    def _refuse(self, message: Any, error: Exception) -> None:  # noqa: ANN401
        # If the message pointed at a job, the job stays queued and the sweep sends it again.
        log.error("message refused", error=type(error).__name__)
        message.reject_log_error(logging.getLogger(__name__), self.connection_errors)


def validated_strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., None]:  # noqa: ANN401 - Celery has no annotations
    """Return Celery's default strategy, preceded by a check of the message."""
    accept = default(task, app, consumer, **options)

    def check_and_accept(message: Any, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        try:
            _check(message, task, app)
        except Exception as error:
            # An OSError here comes from an invalid time in the message, not from the connection.
            raise InvalidTaskError(type(error).__name__) from error
        accept(message, *rest, **more)

    return check_and_accept


def _check(message: Any, task: Any, app: Any) -> None:  # noqa: ANN401
    args, kwargs, _ = _parts(message.payload)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TypeError("args and kwargs")
    Request(message, app=app, task=task, hostname="", body=message.body, decoded=False)


def _parts(payload: object) -> list[object]:
    if not isinstance(payload, list) or len(payload) != _BODY_PARTS:
        raise TypeError("not three parts")
    return payload
