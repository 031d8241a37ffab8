"""The connection by which a worker's parent receives messages from Redis.

Two changes to kombu. The pause between two connection attempts is constant; Celery's grows
by two seconds an attempt, so that after a long outage work resumes half a minute late. Bytes
in a lane that are not a message envelope are refused; Celery's parent exits on them.
Not covered: connections by which children send messages. They are opened when needed.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import structlog
from kombu.connection import Connection

# `_brpop_read` is a private part of kombu's Redis transport. pyproject.toml pins kombu to 5.7.x:
# check this module before a wider range.
from kombu.transport import redis

log = structlog.get_logger()

_RETRY_SECONDS = 2.0  # higher: fewer connection attempts, later resumption


class _Channel(redis.Channel):
    """A channel that refuses bytes that are not an envelope.

    Redis has already removed these bytes.
    """

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - as kombu
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            refused = type(error).__name__  # only the class: the message may quote any bytes
        log.error("message refused", error=refused)
        raise Empty


class _Transport(redis.Transport):
    Channel = _Channel


class ConstantBackoffConnection(Connection):
    """A Redis connection with a constant pause between attempts."""

    def get_transport_cls(self) -> type[redis.Transport]:
        """Return the transport class for Redis."""
        return _Transport

    def ensure_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as kombu
        """Connect like kombu, with a constant pause between attempts."""
        pause = {"interval_start": _RETRY_SECONDS, "interval_step": 0.0}
        return super().ensure_connection(*args, **options | pause)  # type: ignore[no-untyped-call]  # kombu has no annotations
