"""CAPTION core.settings.web."""

from __future__ import annotations

_SHORTEST_SECRET = 32  # characters


_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
