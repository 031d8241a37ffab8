"""The output file of a report.

It is checked before the evaluation, and written atomically after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import OutputInvalid


def check_target(path: Path) -> None:
    """Check that a page can be written to the path.

    Raises:
        OutputInvalid: it cannot.
    """
    with _output_faults(path):
        if path.is_dir():
            raise OutputInvalid(str(path), "is a folder; name a file in it")
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise OutputInvalid(str(path), "is not a file that can be written")
        with _part(path.resolve()):
            pass


def write_page(path: Path, html: str) -> None:
    """Write a page, or leave the existing file as it is.

    Raises:
        OutputInvalid: the page cannot be written.
    """
    target = path.resolve()
    with _output_faults(path), _part(target) as part:
        part.write_text(html, encoding="utf-8", newline="\n")
        part.replace(target)


@contextmanager
def _part(target: Path) -> Iterator[Path]:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.touch(exist_ok=False)
        yield part
    finally:
        with suppress(OSError):  # it was renamed to the target, or never created
            part.unlink()


@contextmanager
def _output_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise OutputInvalid(str(path), problem) from error
