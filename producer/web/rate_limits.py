"""How many requests a key may make: counted in Redis, so that all processes count together.

With Redis away nothing is refused here: what needs Redis says so itself.
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

_SECONDS = 1.0  # for Redis to answer in


class RateLimits:
    """Counts requests; nothing is connected to before the first one."""

    def __init__(self, settings: Settings) -> None:
        self._item = RateLimitItemPerMinute(settings.web_rate)
        storage = RedisStorage(
            settings.broker.replace("redis+socket://", "redis+unix://", 1),
            key_prefix="answermill:rate",
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            **(tls_options.redis_options(settings) or {}),
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    def wait_seconds(self, key: ApiKey) -> int:
        """Count a request; return after how many seconds it may come again, 0: it is taken."""
        name = key.name  # all secrets of a name count together
        try:
            if self._limiter.hit(self._item, name):
                return 0
            until = self._limiter.get_window_stats(self._item, name).reset_time
        except RedisError:
            return 0
        return max(1, math.ceil(until - time.time()))
