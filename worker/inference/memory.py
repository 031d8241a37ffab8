"""Available memory of the process, and the release of free memory.

A process is limited by its resource limits (`ulimit`), by its control groups (version 2 or 1)
and by the machine. A limit that cannot be read, as on systems other than Linux, is ignored.
Not covered: memory of GPUs.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = resource.getpagesize()
_KIB = 1 << 10


@dataclass(frozen=True, slots=True)
class _CgroupVersion:
    """The files of one version of control groups."""

    folder: str
    line: str  # of /proc/self/cgroup, before the group's path
    limit: str
    used: str
    cache: str  # in memory.stat: bytes that the kernel reclaims before it kills a process


_CGROUP_VERSIONS = (
    _CgroupVersion("sys/fs/cgroup", r"0::", "memory.max", "memory.current", "inactive_file"),
    _CgroupVersion(
        "sys/fs/cgroup/memory",
        r"\d+:memory:",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def freeze_gc() -> None:
    """Collect garbage, and exclude other objects from later collections.

    A collection writes to every object that it checks. Frozen before a fork, objects stay in
    memory pages that parent and child share: 22 MB for a worker. Frozen after a model is loaded,
    they save up to a tenth of the time, which repeated collections would take.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Collect all garbage, and return free pages to the system."""
    gc.unfreeze()
    freeze_gc()
    malloc_trim()


def malloc_trim() -> None:
    """Return free pages to the system, if glibc is available.

    Source: malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error means a lack of memory.

    Python, torch and ONNX Runtime raise different errors.
    """
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and "memory" in message and "alloc" in message


def available_bytes(
    limit: int | None = None, *, replicas: int = 1, root: Path = Path("/")
) -> int | None:
    """Return how many bytes this process may still allocate, or None.

    None means that no limit is known.

    Args:
        limit: the maximum size of the process in bytes, if one is set.
        replicas: number of similar processes that share the machine and the control group.
        root: the folder of /proc and /sys.
    """
    limits = [*_own_limits(limit, root), *(shared // replicas for shared in _shared_limits(root))]
    return max(0, min(limits)) if limits else None


def _own_limits(limit: int | None, root: Path) -> Iterator[int]:
    statm = _words(root / "proc/self/statm")
    if not statm:
        return
    size, resident = (int(pages) * PAGE_BYTES for pages in statm[:2])
    if limit is not None:
        yield limit - resident
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft - size


def _shared_limits(root: Path) -> Iterator[int]:
    available = _value(root / "proc/meminfo", "MemAvailable:")
    if available is not None:
        yield available * _KIB
    groups = _text(root / "proc/self/cgroup")
    for version in _CGROUP_VERSIONS:
        group = re.search(rf"^{version.line}/(.*)$", groups, re.MULTILINE)
        top = root / version.folder
        # In a container the path is often the host's, and the group's files are at the top.
        group_folder = top / (group[1] if group else "")
        for folder in (group_folder, *group_folder.parents):
            yield from _group_limit(folder, version)
            if folder == top:
                break


def _group_limit(folder: Path, version: _CgroupVersion) -> Iterator[int]:
    limit, used = (_words(folder / name) for name in (version.limit, version.used))
    if limit and used and limit[0] != "max":
        cache = _value(folder / "memory.stat", version.cache) or 0
        yield int(limit[0]) - int(used[0]) + cache


def peak_bytes() -> int | None:
    """Return the highest resident size since `reset_peak`, if known."""
    peak = _value(Path("/proc/self/status"), "VmHWM:")
    return None if peak is None else peak * _KIB


def reset_peak() -> int | None:
    """Reset `peak_bytes`, and return the resident size if possible.

    Source: proc(5), clear_refs.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    statm = _words(Path("/proc/self/statm"))
    return int(statm[1]) * PAGE_BYTES if statm else None


def _value(file: Path, name: str) -> int | None:
    """Return the number that follows a name at the start of a line."""
    match = re.search(rf"^{re.escape(name)}\s+(\d+)", _text(file), re.MULTILINE)
    return None if match is None else int(match[1])


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
