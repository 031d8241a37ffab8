"""How much memory is left, and giving back what is free.

What limits a process are the limits that it was given (`ulimit`), those of its control groups,
version 2 or 1, and the machine. Whatever is not known, as away from Linux, limits nothing.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE = resource.getpagesize()
_KIB = 1 << 10


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of control groups tells its limits, below which folder."""

    folder: str
    line: str  # of /proc/self/cgroup, before the group's path
    limit: str
    used: str
    cache: str  # in memory.stat: what the system takes back before it kills anybody


_GROUPS = (
    _Version("sys/fs/cgroup", r"0::", "memory.max", "memory.current", "inactive_file"),
    _Version(
        "sys/fs/cgroup/memory",
        r"\d+:memory:",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def freeze_gc() -> None:
    """Free what only cycles hold; Python's search for them passes over the rest from then on.

    A search writes to all that it looks at. Before a fork this leaves its pages to parent and
    child in common, 22 MB of a worker's. Behind a model it saves up to a tenth of the time, which
    going through all of it again and again took.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Free what was kept still and only cycles hold by now, and return free pages."""
    gc.unfreeze()
    freeze_gc()
    malloc_trim()


def malloc_trim() -> None:
    """Return free pages to the system: glibc's malloc_trim(3), if it is there."""
    found = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if found is not None:
        found(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was no memory, as Python, torch or ONNX Runtime do."""
    if isinstance(error, MemoryError):
        return True
    told = str(error).lower()
    return isinstance(error, RuntimeError) and "memory" in told and "alloc" in told


def available_bytes(
    limit: int | None = None, *, replicas: int = 1, root: Path = Path("/")
) -> int | None:
    """Return how many bytes this process may still take; None: nobody knows.

    Args:
        limit: what the process may have at most, if that was said.
        replicas: among how many processes like this one the machine's and the group's are shared.
        root: where /proc and /sys are.
    """
    found = [*_own(limit, root), *(shared // replicas for shared in _shared(root))]
    return max(0, min(found)) if found else None


def _own(limit: int | None, root: Path) -> Iterator[int]:
    statm = _words(root / "proc/self/statm")
    if not statm:
        return
    size, resident = (int(pages) * _PAGE for pages in statm[:2])
    if limit is not None:
        yield limit - resident
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft - size


def _shared(root: Path) -> Iterator[int]:
    available = _value(root / "proc/meminfo", "MemAvailable:")
    if available is not None:
        yield available * _KIB
    told = _text(root / "proc/self/cgroup")
    for version in _GROUPS:
        group = re.search(rf"^{version.line}/(.*)$", told, re.MULTILINE)
        top = root / version.folder
        # In a container the path is often the host's, and the group's own files are at the top.
        folder = top / (group[1] if group else "")
        for place in (folder, *folder.parents):
            yield from _of_group(place, version)
            if place == top:
                break


def _of_group(place: Path, version: _Version) -> Iterator[int]:
    limit, used = (_words(place / name) for name in (version.limit, version.used))
    if limit and used and limit[0] != "max":
        cache = _value(place / "memory.stat", version.cache) or 0
        yield int(limit[0]) - int(used[0]) + cache


def peak_bytes() -> int | None:
    """Return how large this process was at most, resident, since `forget_peak`."""
    found = _value(Path("/proc/self/status"), "VmHWM:")
    return None if found is None else found * _KIB


def reset_peak() -> int | None:
    """Let `peak` begin anew (proc(5), clear_refs); return the resident size; None: it can't."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    statm = _words(Path("/proc/self/statm"))
    return int(statm[1]) * _PAGE if statm else None


def _value(file: Path, name: str) -> int | None:
    """Return the number behind a name at a line's start."""
    found = re.search(rf"^{re.escape(name)}\s+(\d+)", _text(file), re.MULTILINE)
    return None if found is None else int(found[1])


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
