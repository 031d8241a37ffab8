"""CAPTION core.settings.broker."""

from __future__ import annotations

import os
from pathlib import Path

from core.settings.base import PREFIX

# Linux holds a socket's path in 108 bytes, macOS in 104.
_LONGEST_SOCKET_PATH = 103


_BROKER_SCHEMES = ("redis", "rediss", "redis+socket")


def _redis_socket(home: Path) -> Path:
    return home / "run" / "redis.sock"


def _check_length(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > _LONGEST_SOCKET_PATH:
        msg = (
            f"{PREFIX}HOME: {socket} is {length} bytes long, more than a Unix socket's"
            f" path may have ({_LONGEST_SOCKET_PATH}); choose a shorter one"
        )
        raise ValueError(msg)
