"""How a worker's parent comes back to a Redis that was away, and outlives what it reads there.

Celery waits two seconds longer after each attempt, up to thirty, so that after a long outage
half a minute passes before work resumes. And it dies of bytes in a lane that are no envelope of
a message. Covers the connection that messages come by; what children send goes over
connections that are opened anew when needed.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import structlog
from kombu.connection import Connection
from kombu.transport import redis

log = structlog.get_logger()

_RETRY_SECONDS = 2.0


class _Channel(redis.Channel):
    """A channel on which bytes that are no envelope are refused; they are gone from Redis."""

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - as kombu
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            refused = type(error).__name__  # nothing more: what was read may be anything
        log.error("message refused", error=refused)
        raise Empty


class _Transport(redis.Transport):
    Channel = _Channel


class ConstantBackoffConnection(Connection):
    """A connection to Redis that is tried again at a steady pace, however long it has failed."""

    def get_transport_cls(self) -> type[redis.Transport]:
        """Return what speaks with Redis."""
        return _Transport

    def ensure_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as kombu
        """Connect, as kombu does it, at our pace."""
        pace = {"interval_start": _RETRY_SECONDS, "interval_step": 0.0}
        return super().ensure_connection(*args, **options | pace)  # type: ignore[no-untyped-call]  # kombu has no annotations
