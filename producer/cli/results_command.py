"""One run of `results`: which format, where to, and what to say when there is nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from core.console import err, out
from core.domain.result import Status
from core.errors import OutputInvalid
from db.queries import batches
from db.session import reading
from producer.question_files.rows import reason
from producer.results.export import ExportFormat, export, replaced
from producer.results.pages import pages

_SUFFIXES = {
    ".csv": ExportFormat.CSV,
    ".jsonl": ExportFormat.JSONL,
    ".ndjson": ExportFormat.JSONL,
    ".parquet": ExportFormat.PARQUET,
}


def run(
    engine: sa.Engine,
    ref: str,
    output: Path | None,
    export_format: ExportFormat | None,
    *,
    since: int,
    status: Status | None,
    follow: bool,
) -> int | None:
    """Write a batch's results; return the last one's cursor, None when there was none.

    Raises:
        BatchUnknown: there is no such batch.
        OutputInvalid: that format can't go there, or the file can't be written.
    """
    chosen = _format(output, export_format)
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    found = pages(engine, batch.id, since=since, status=status, follow=follow)
    with _target(output) as stream:
        last = export(found, stream, chosen, out)
    if last is None:
        err.print(f"batch {batch.id} has no such results" + ("" if batch.finished_at else " yet"))
    return last


def _format(output: Path | None, wanted: ExportFormat | None) -> ExportFormat:
    if output is None:
        if wanted is ExportFormat.PARQUET and out.is_terminal:
            raise OutputInvalid("the terminal", "it can't show Parquet; use -o FILE")
        return wanted or ExportFormat.TABLE
    chosen = wanted or _SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        raise OutputInvalid(str(output), "the suffix tells no format; give --format")
    if chosen is ExportFormat.TABLE:
        raise OutputInvalid(
            str(output), "a table is for people; give --format csv, jsonl or parquet"
        )
    return chosen


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        with replaced(output) as stream:
            yield stream
    except OSError as error:
        raise OutputInvalid(str(output), f"can't be written: {reason(error)}") from error
