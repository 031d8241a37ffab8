"""The one way in which tests wait for a condition that another process or thread meets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T],
    seconds: float = 20.0,
    details: Callable[[], object] = str,
    *,
    interval: float = 0.02,
) -> T:
    """Wait until the condition holds, and return its value.

    Args:
        condition: holds when its value is true.
        seconds: until AssertionError is raised.
        details: called for the text of that error.
        interval: seconds between two calls of the condition.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {details()}"
        time.sleep(interval)
    return value
