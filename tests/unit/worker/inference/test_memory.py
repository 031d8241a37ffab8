from __future__ import annotations

import gc
import sys
import weakref

import psutil
import pytest

from worker.inference.memory import freeze_gc, release_memory


class Ring:
    """Holds itself, and so outlives its last name."""

    def __init__(self):
        self.self = self


def test_what_only_cycles_hold_is_freed():
    gc.disable()
    try:
        held = weakref.ref(Ring())
        assert held() is not None
        release_memory()
        assert held() is None
    finally:
        gc.enable()


def test_what_is_kept_still_is_passed_over_until_it_is_given_back():
    ring = Ring()
    held = weakref.ref(ring)
    try:
        freeze_gc()
        del ring
        freeze_gc()
        assert held() is not None
        release_memory()
        assert held() is None
    finally:
        gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can trim")
def test_freed_pages_go_back_to_the_system():
    process = psutil.Process()
    small = [bytearray(4_000) for _ in range(50_000)]  # too small to be mapped one by one
    keep = small[::1000]
    full = process.memory_info().rss
    del small
    release_memory()
    assert keep
    assert full - process.memory_info().rss > 100_000_000
