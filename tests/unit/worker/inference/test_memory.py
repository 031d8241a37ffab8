from __future__ import annotations

import gc
import sys
import weakref

import psutil
import pytest

from worker.inference.memory import give_back, keep_still


class Ring:
    """Holds itself, and so outlives its last name."""

    def __init__(self):
        self.self = self


def test_what_only_cycles_hold_is_freed():
    gc.disable()
    try:
        held = weakref.ref(Ring())
        assert held() is not None
        give_back()
        assert held() is None
    finally:
        gc.enable()


def test_what_is_kept_still_is_passed_over_until_it_is_given_back():
    ring = Ring()
    held = weakref.ref(ring)
    try:
        keep_still()
        del ring
        keep_still()
        assert held() is not None
        give_back()
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
    give_back()
    assert keep
    assert full - process.memory_info().rss > 100_000_000
