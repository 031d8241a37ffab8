"""Giving freed memory back to the system, so that a swap leaves one model's worth."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Free what only cycles hold, and return free pages: glibc's malloc_trim(3), if it is there."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
