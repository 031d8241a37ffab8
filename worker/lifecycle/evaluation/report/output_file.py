"""Where a page goes: looked at before the long work, written whole after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import OutputInvalid


def check_target(path: Path) -> None:
    """Make sure that a page can be written there.

    Raises:
        OutputInvalid: it can't.
    """
    with _faults_told(path):
        if path.is_dir():
            raise OutputInvalid(str(path), "is a folder; name a file in it")
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise OutputInvalid(str(path), "is not a file that can be written")
        with _part(path.resolve()):
            pass


def write_page(path: Path, html: str) -> None:
    """Write a page in the place of what was there, or nothing.

    Raises:
        OutputInvalid: it can't be written.
    """
    whole = path.resolve()
    with _faults_told(path), _part(whole) as part:
        part.write_text(html, encoding="utf-8", newline="\n")
        part.replace(whole)


@contextmanager
def _part(whole: Path) -> Iterator[Path]:
    part = whole.with_name(f".{whole.name}.{os.getpid()}.part")
    try:
        part.touch(exist_ok=False)
        yield part
    finally:
        with suppress(OSError):  # it has taken its place, or never was
            part.unlink()


@contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputInvalid(str(path), f"can't be written: {error.strerror or error}") from error
