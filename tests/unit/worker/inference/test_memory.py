from __future__ import annotations

import gc
import sys
import weakref

import psutil
import pytest

from worker.inference.memory import freeze_gc, release_memory


class Ring:
    """References itself, so that only the garbage collector frees it."""

    def __init__(self):
        self.self = self


def test_cyclic_garbage_is_freed():
    gc.disable()
    try:
        reference = weakref.ref(Ring())
        assert reference() is not None
        release_memory()
        assert reference() is None
    finally:
        gc.enable()


def test_frozen_objects_are_skipped_until_memory_is_released():
    ring = Ring()
    reference = weakref.ref(ring)
    try:
        freeze_gc()
        del ring
        freeze_gc()
        assert reference() is not None
        release_memory()
        assert reference() is None
    finally:
        gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can trim")
def test_freed_pages_return_to_the_system():
    process = psutil.Process()
    blocks = [bytearray(4_000) for _ in range(50_000)]  # too small for a mapping of their own
    keep = blocks[::1000]
    full = process.memory_info().rss
    del blocks
    release_memory()
    assert keep
    assert full - process.memory_info().rss > 100_000_000
