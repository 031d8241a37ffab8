"""Questions that hurt the model: a text's first word names the way.

`strike` does to this process what such a question does. Covers what a model can do to the
process that holds it; what a machine does to a process (kill -9 without a cause) is among the
faults.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

MEMORY_BYTES = 3 << 30  # what a process of the worker may have, as set by `ulimit -v`

_BLOCK_BYTES = 1 << 20
_LONG_SECONDS = 3_600


def _raise() -> NoReturn:
    raise ValueError("poison")


def _hang() -> NoReturn:
    while True:
        time.sleep(_LONG_SECONDS)


def _hang_deaf() -> NoReturn:
    # As a library does that neither lets Python run nor comes back.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        ctypes.PyDLL(None).sleep(_LONG_SECONDS)


def _segfault() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def _eat() -> NoReturn:
    hoard = []
    while True:
        hoard.append(np.empty(_BLOCK_BYTES, dtype=np.uint8))


def _be_killed() -> NoReturn:
    # As the kernel does to whom it finds when a machine has no memory left.
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


POISONS: dict[str, Callable[[], NoReturn]] = {
    "!raise": _raise,
    "!hang": _hang,
    "!hang-deaf": _hang_deaf,
    "!segfault": _segfault,
    "!eat": _eat,
    "!be-killed": _be_killed,
}
DIES = "the worker died or lost touch"
NAMED = {
    "!raise": "ValueError: poison",
    "!hang": "SoftTimeLimitExceeded",
    "!hang-deaf": DIES,
    "!segfault": DIES,
    "!eat": "MemoryError",
    "!be-killed": DIES,
}


def strike(texts: Sequence[str]) -> None:
    """Suffer from the first poison among the texts, if there is one."""
    for text in texts:
        if poison := POISONS.get(text.partition(" ")[0]):
            poison()


def limit_memory() -> None:
    """Let this process and its children have so much memory and no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
