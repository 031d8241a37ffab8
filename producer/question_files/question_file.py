"""Where questions come from: a file or standard input, read twice.

The first reading checks every row before anything is stored; the second one hands the
questions over. What can be read only once (standard input, a pipe) is copied to a temporary
file first, which needs as much room in the temporary folder.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from core.domain.batch import Question
from core.errors import SourceInvalid
from producer.question_files import formats
from producer.question_files.duplicate_keys import refuse_duplicates
from producer.question_files.formats import FileFormat, Layout
from producer.question_files.rows import reason

STDIN = "-"
DEFAULT_TEXT = "question"

_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".parquet": FileFormat.PARQUET,
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HEAD = 4096  # bytes, in which the first one that is not blank is looked for
_COLUMNS_TOLD = 12
_NAME_TOLD = 40  # characters
_TOLD_EVERY = 10_000  # questions


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """A file, and how it is to be read."""

    display_name: str  # as the caller named it
    stem: str  # what a batch made of it is named after
    path: Path  # the file, or the copy of what can be read only once
    layout: Layout
    stamp: tuple[int, ...]  # changes when the file does

    @property
    def copied(self) -> bool:
        """Whether it can be read only once, so that the path is a copy's."""
        return self.path != Path(self.display_name)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A source whose every row is known to be good."""

    source: QuestionFile
    digest: str  # of its bytes and of how they are read
    count: int

    def questions(self, behind: int = 0) -> Iterator[Question]:
        """Read the questions behind a position."""
        source = self.source
        found = formats.questions(source.path, source.display_name, source.layout)
        for _, question in islice(found, behind, None):
            yield question

    @property
    def changed(self) -> bool:
        """Whether the file is another one than was checked, or gone."""
        try:
            return _stamp(self.source.path) != self.source.stamp
        except OSError:
            return True


@contextmanager
def opened(
    ref: str,
    *,
    text: str | None = None,
    key: str | None = None,
    file_format: FileFormat | None = None,
    called: str | None = None,
) -> Iterator[QuestionFile]:
    """Find the file, its format and its columns; `-` is standard input.

    `called` is what the caller knows it by, if that is no path.

    Raises:
        SourceInvalid: there is no such file, or it lacks a column.
    """
    with _readable(ref) as (named, stem, path):
        shown = called or named
        try:
            form = file_format or _format(path, ref, shown)
            layout = _layout(path, shown, form, text, key)
            source = QuestionFile(shown, stem, path, layout, _stamp(path))
        except OSError as error:
            raise SourceInvalid(shown, reason(error)) from error
        yield source


def check(source: QuestionFile, on_count: Callable[[int], None] = lambda _: None) -> CheckedFile:
    """Read every row.

    Raises:
        SourceInvalid: with the row of the first fault.
    """
    digest = _digest(source)
    found = formats.questions(source.path, source.display_name, source.layout)
    if source.layout.key is not None:
        found = refuse_duplicates(found, source.display_name)
    count = 0
    for count, _ in enumerate(found, 1):
        if count % _TOLD_EVERY == 0:
            on_count(count)
    checked = CheckedFile(source, digest, count)
    if count == 0:
        raise SourceInvalid(source.display_name, "there are no questions in it")
    if checked.changed:
        raise SourceInvalid(source.display_name, "it changed while it was read")
    return checked


def _digest(source: QuestionFile) -> str:
    layout = source.layout
    try:
        with source.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise SourceInvalid(source.display_name, reason(error)) from error
    digest.update(repr((str(layout.format), layout.text, layout.key)).encode())
    return digest.hexdigest()


@contextmanager
def _readable(ref: str) -> Iterator[tuple[str, str, Path]]:
    if ref == STDIN:
        if sys.stdin is None:
            raise SourceInvalid("standard input", "it is closed")
        with _copy(sys.stdin.buffer, "standard input") as path:
            yield "standard input", "stdin", path
        return
    path = Path(ref)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            yield ref, path.stem, path
            return
        file = path.open("rb")
    except OSError as error:
        raise SourceInvalid(ref, reason(error)) from error
    with file, _copy(file, ref) as copy:
        yield ref, "stdin", copy


@contextmanager
def _copy(stream: BinaryIO, shown: str) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        try:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
        except OSError as error:
            problem = f"can't be copied to {copy.name}: {reason(error)}"
            raise SourceInvalid(shown, problem) from error
        yield Path(copy.name)


def _format(path: Path, ref: str, shown: str) -> FileFormat:
    if path == Path(ref):
        found = _SUFFIXES.get(path.suffix.lower())
        if found is None:
            suffix = f"the suffix {path.suffix}" if path.suffix else "no suffix"
            problem = f"{suffix} tells no format; give --format csv, tsv, jsonl or parquet"
            raise SourceInvalid(shown, problem)
        return found
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    return FileFormat.JSONL if head.startswith((b"{", b"[")) else FileFormat.CSV


def _layout(path: Path, shown: str, form: FileFormat, text: str | None, key: str | None) -> Layout:
    with path.open("rb") as file:
        head = file.read(2)
    if not head:
        raise SourceInvalid(shown, "it is empty")
    if head in _UTF16:
        problem = "it is UTF-16; convert it by `iconv -f UTF-16 -t UTF-8`"
        raise SourceInvalid(shown, problem, row=1)
    names = formats.columns(path, shown, form)
    if not names:
        raise SourceInvalid(shown, "there are no questions in it")
    key = key or (formats.KEY if formats.KEY in names else None)
    language = formats.LANGUAGE if formats.LANGUAGE in names else None
    layout = Layout(form, text or DEFAULT_TEXT, key, language)
    for name in filter(None, (layout.text, layout.key)):
        _require(name, names, shown)
    return layout


def _require(name: str, names: list[str], shown: str) -> None:
    if names.count(name) == 1:
        return
    if name in names:
        raise SourceInvalid(shown, f"there are several columns {name!r}")
    near = difflib.get_close_matches(name, names, n=1) or [
        other for other in names if other.strip().lower() == name.lower()
    ]
    hint = f"; did you mean {near[0]!r}?" if near else "; name the right one by --text or --key"
    listed = ", ".join(_brief(other) for other in names[:_COLUMNS_TOLD])
    listed += ", …" if len(names) > _COLUMNS_TOLD else ""
    raise SourceInvalid(shown, f"there is no column {name!r} but {listed}{hint}")


def _brief(name: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in name)
    return shown if len(shown) <= _NAME_TOLD else f"{shown[:_NAME_TOLD]}…"


def _stamp(path: Path) -> tuple[int, ...]:
    found = os.stat(path)  # noqa: PTH116 - as cheap as it gets
    return found.st_ino, found.st_size, found.st_mtime_ns
