"""Export of results as CSV, JSON lines, Parquet or a table, page by page.

The columns are a contract: they keep their names and their order, and new columns come last. CSV is
UTF-8 without a byte order mark, its lines end in a line feed, and a missing value is an empty
field. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import sqlalchemy as sa
from rich.cells import cell_len
from rich.console import Console, OverflowMethod
from rich.table import Table

from core.console import one_line
from producer.question_files.rows import parquet_library
from producer.results.pages import Page

COLUMNS = (
    "key",
    "question",
    "status",
    "answer",
    "entry_id",
    "matched",
    "confidence",
    "reason",
    "error",
    "model_version",
    "answered_at",
    "position",
    "cursor",
    "url",
    "runners_up",
    "desk_answer",
    "desk_entry_id",
    "desk_by",
    "desk_at",
)

_MAX_KEY_WIDTH = 20  # columns of a terminal
_ROW_GROUP = 10_000  # rows; higher: a smaller Parquet file, more memory
_values = attrgetter(*COLUMNS)


class _Overflow(TypedDict):
    no_wrap: bool
    overflow: OverflowMethod


Write = Callable[[Page], None]


class ExportFormat(StrEnum):
    """The format of exported results."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


def export(
    pages: Iterable[Page], stream: BinaryIO, export_format: ExportFormat, console: Console
) -> int | None:
    """Write the pages and return the last cursor, None without a result."""
    last = None
    with writer(stream, export_format, console) as write:
        for page in pages:
            write(page)
            stream.flush()
            last = page[-1].cursor
    stream.flush()
    return last


def document(row: sa.Row[Any]) -> dict[str, Any]:
    """Return a result as an object of JSON lines."""
    return dict(zip(COLUMNS, _plain(_values(row)), strict=True))


def writer(
    stream: BinaryIO, export_format: ExportFormat, console: Console
) -> AbstractContextManager[Write]:
    """Return a context with a function that writes pages to the stream.

    A table is printed on the console instead.
    """
    if export_format is ExportFormat.TABLE:
        return _table(console)
    writers = {
        ExportFormat.CSV: _csv,
        ExportFormat.JSONL: _jsonl,
        ExportFormat.PARQUET: _parquet,
    }
    return writers[export_format](stream)


class _Lines:
    """A target of csv.writer that encodes UTF-8 and ends rows in a line feed.

    The writer must end rows in CR LF itself, because it would not quote a CR in a text otherwise.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, row: str) -> None:
        self._stream.write(row.removesuffix("\r\n").encode() + b"\n")


@contextmanager
def _csv(stream: BinaryIO) -> Iterator[Write]:
    writer = csv.writer(_Lines(stream))
    writer.writerow(COLUMNS)

    def write(page: Page) -> None:
        for row in page:
            writer.writerow(_flat(_values(row)))

    yield write


@contextmanager
def _jsonl(stream: BinaryIO) -> Iterator[Write]:
    def write(page: Page) -> None:
        for row in page:
            line = json.dumps(document(row), ensure_ascii=False)
            stream.write(line.encode() + b"\n")

    yield write


def _flat(values: tuple[Any, ...]) -> Iterator[Any]:
    for value in _plain(values):
        yield json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _plain(values: tuple[Any, ...]) -> Iterator[Any]:
    return (v.isoformat() if hasattr(v, "isoformat") else v for v in values)


@contextmanager
def _parquet(stream: BinaryIO) -> Iterator[Write]:
    pa, parquet = parquet_library()
    schema = _parquet_schema(pa)
    rows: list[tuple[Any, ...]] = []
    with parquet.ParquetWriter(stream, schema) as writer:

        def write_group() -> None:
            columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(COLUMNS)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows.clear()

        def write(page: Page) -> None:
            rows.extend(_values(row) for row in page)
            if len(rows) >= _ROW_GROUP:
                write_group()

        yield write
        write_group()


def _parquet_schema(pa: Any) -> Any:  # noqa: ANN401 - the module pyarrow, and its Schema
    types = {
        "confidence": pa.float64(),
        "answered_at": pa.timestamp("us", tz="UTC"),
        "desk_at": pa.timestamp("us", tz="UTC"),
        "position": pa.int64(),
        "cursor": pa.int64(),
        "runners_up": pa.list_(
            pa.struct({"entry_id": pa.string(), "matched": pa.string(), "score": pa.float64()})
        ),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])


@contextmanager
def _table(console: Console) -> Iterator[Write]:
    key_width = 0

    def write(page: Page) -> None:
        nonlocal key_width
        first = not key_width
        if first:
            key_width = min(max(cell_len(one_line(row.key)) for row in page), _MAX_KEY_WIDTH)
        table = _table_of(page, max(key_width, len("key")), console.width)
        table.show_header = first
        console.print(table, soft_wrap=False)

    yield write


def _table_of(page: Page, key_width: int, width: int) -> Table:
    table = Table(box=None, width=width, pad_edge=False)
    cut: _Overflow = {"no_wrap": True, "overflow": "ellipsis"}
    table.add_column("key", width=key_width, **cut)
    table.add_column("question", ratio=6, **cut)
    table.add_column("status", width=len("handed_off"))
    table.add_column("answer", ratio=7, **cut)
    table.add_column("conf", width=4, justify="right")
    for row in page:
        confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
        answer = row.answer or row.reason or row.error or ""
        texts = one_line(row.key), one_line(row.question), row.status, one_line(answer)
        table.add_row(*texts, confidence)
    return table


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces the path when the block ends without an error.

    A path that is not a regular file, such as a pipe, is written directly.

    Raises:
        OSError: the file cannot be written.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
