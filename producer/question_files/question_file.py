"""A file of questions, or standard input, read twice.

The first pass checks every row before a question is stored. The second pass yields the questions.
A source that can be read only once (standard input, a pipe) is copied to a temporary file first,
which needs as much space in the temporary folder.
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
_HEAD = 4096  # bytes that are searched for the first character that is not blank
_COLUMNS_SHOWN = 12
_COLUMN_CHARS = 40  # characters of a column name in a message
_REPORT_EVERY = 10_000  # questions
_EMPTY = "the file contains no questions"
_CHOICES = "choose one with --format csv, tsv, jsonl or parquet"


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """A file and its layout."""

    display_name: str  # the name that the caller gave
    stem: str  # the start of a derived batch name
    path: Path  # the file, or a copy of a source that can be read only once
    layout: Layout
    stamp: tuple[int, ...]  # changes when the file changes

    @property
    def copied(self) -> bool:
        """Whether the path is a copy of a source that can be read only once."""
        return self.path != Path(self.display_name)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A question file without a faulty row."""

    source: QuestionFile
    digest: str  # of the bytes and the layout
    count: int

    def questions(self, after: int = 0) -> Iterator[Question]:
        """Read the questions after a position."""
        source = self.source
        rows = formats.questions(source.path, source.display_name, source.layout)
        for _, question in islice(rows, after, None):
            yield question

    @property
    def changed(self) -> bool:
        """Whether the file changed, or is gone, since the check."""
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
    display_name: str | None = None,
) -> Iterator[QuestionFile]:
    """Open a file, or standard input for `-`, and determine its layout.

    `display_name`: the name in messages, if it differs from the path.

    Raises:
        SourceInvalid: the file cannot be read, or lacks a column.
    """
    with _readable(ref) as (path_name, stem, path):
        name = display_name or path_name
        try:
            known_format = file_format or _format(path, ref, name)
            layout = _layout(path, name, known_format, text, key)
            source = QuestionFile(name, stem, path, layout, _stamp(path))
        except OSError as error:
            raise SourceInvalid(name, reason(error)) from error
        yield source


def check(source: QuestionFile, on_count: Callable[[int], None] = lambda _: None) -> CheckedFile:
    """Read and check every row.

    Raises:
        SourceInvalid: a row is invalid; the error names the first one.
    """
    digest = _digest(source)
    rows = formats.questions(source.path, source.display_name, source.layout)
    if source.layout.key is not None:
        rows = refuse_duplicates(rows, source.display_name)
    count = 0
    for count, _ in enumerate(rows, 1):
        if count % _REPORT_EVERY == 0:
            on_count(count)
    checked = CheckedFile(source, digest, count)
    if count == 0:
        raise SourceInvalid(source.display_name, _EMPTY)
    if checked.changed:
        raise SourceInvalid(source.display_name, "the file changed while it was read")
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
    """Yield the name, the stem and the path of a file that can be read twice."""
    if ref == STDIN:
        if sys.stdin is None:
            raise SourceInvalid("standard input", "the stream is closed")
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
def _copy(stream: BinaryIO, display_name: str) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        try:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
        except OSError as error:
            problem = f"cannot be copied to {copy.name}: {reason(error)}"
            raise SourceInvalid(display_name, problem) from error
        yield Path(copy.name)


def _format(path: Path, ref: str, display_name: str) -> FileFormat:
    if path == Path(ref):
        by_suffix = _SUFFIXES.get(path.suffix.lower())
        if by_suffix is None:
            suffix = f"the suffix {path.suffix}" if path.suffix else "a name without a suffix"
            raise SourceInvalid(display_name, f"{suffix} does not name a format; {_CHOICES}")
        return by_suffix
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    return FileFormat.JSONL if head.startswith((b"{", b"[")) else FileFormat.CSV


def _layout(
    path: Path, display_name: str, file_format: FileFormat, text: str | None, key: str | None
) -> Layout:
    with path.open("rb") as file:
        head = file.read(2)
    if not head:
        raise SourceInvalid(display_name, "the file is empty")
    if head in _UTF16:
        problem = "the file is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
        raise SourceInvalid(display_name, problem, row=1)
    names = formats.columns(path, display_name, file_format)
    if not names:
        raise SourceInvalid(display_name, _EMPTY)
    key = key or (formats.KEY if formats.KEY in names else None)
    language = formats.LANGUAGE if formats.LANGUAGE in names else None
    layout = Layout(file_format, text or DEFAULT_TEXT, key, language)
    _check_column(layout.text, "text", names, display_name)
    if layout.key:
        _check_column(layout.key, "key", names, display_name)
    return layout


def _check_column(name: str, option: str, names: list[str], display_name: str) -> None:
    if names.count(name) == 1:
        return
    if name in names:
        problem = f"several columns have the name {name!r}; rename all but one"
        raise SourceInvalid(display_name, problem)
    similar = difflib.get_close_matches(name, names, n=1) or [
        other for other in names if other.strip().lower() == name.lower()
    ]
    column = "question" if option == "text" else "key"
    hint = f"Choose the {column} column with --{option} COLUMN."
    if similar:
        hint = f"Did you mean {similar[0]!r}? {hint}"
    listed = ", ".join(_shortened(other) for other in names[:_COLUMNS_SHOWN])
    listed += ", …" if len(names) > _COLUMNS_SHOWN else ""
    raise SourceInvalid(display_name, f"no column named {name!r} (columns: {listed}). {hint}")


def _shortened(name: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in name)
    return printable if len(printable) <= _COLUMN_CHARS else f"{printable[:_COLUMN_CHARS]}…"


def _stamp(path: Path) -> tuple[int, ...]:
    status = os.stat(path)  # noqa: PTH116 - called for every slice, and faster than Path.stat
    return status.st_ino, status.st_size, status.st_mtime_ns
