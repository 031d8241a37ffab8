"""Rate limits per API key, counted in Redis by all processes.

If Redis is unavailable, no request is refused here. Requests that need Redis fail on their own.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from broker import tls_options
from core.domain.api_key import ApiKey
from core.settings.settings import Settings

_TIMEOUT_SECONDS = 1.0  # to connect to Redis and for each reply


class RateLimits:
    """A request counter per API key that connects at the first request."""

    def __init__(self, settings: Settings) -> None:
        self._item = RateLimitItemPerMinute(settings.web_rate)
        storage = RedisStorage(
            settings.broker.replace("redis+socket://", "redis+unix://", 1),
            key_prefix="answermill:rate",
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            **(tls_options.redis_options(settings) or {}),
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    def wait_seconds(self, key: ApiKey) -> int:
        """Count a request and return the seconds to wait, 0 if allowed."""
        name = key.name  # all secrets of a name share one limit
        try:
            if self._limiter.hit(self._item, name):
                return 0
            until = self._limiter.get_window_stats(self._item, name).reset_time
        except RedisError:
            return 0
        return max(1, math.ceil(until - time.time()))
