"""The command `results`: chooses format and target, writes the results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
_CHOICES = "choose one with --format csv, jsonl or parquet"


@dataclass(frozen=True, slots=True)
class ResultsOptions:
    """The options of the command."""

    output: Path | None
    export_format: ExportFormat | None
    since: int
    status: Status | None
    follow: bool


def run(engine: sa.Engine, ref: str, options: ResultsOptions) -> int | None:
    """Write the results and return the last cursor, None without a result.

    Raises:
        BatchUnknown: no batch has this id or name.
        OutputInvalid: the target cannot have the format, or cannot be written.
    """
    export_format = _format(options.output, options.export_format)
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    result_pages = pages(
        engine, batch.id, since=options.since, status=options.status, follow=options.follow
    )
    with _target(options.output) as stream:
        last = export(result_pages, stream, export_format, out)
    if last is None:
        yet = "" if batch.finished_at else " yet"
        err.print(f"batch {batch.id} has no matching results{yet}")
    return last


def _format(output: Path | None, requested: ExportFormat | None) -> ExportFormat:
    if output is None:
        if requested is ExportFormat.PARQUET and out.is_terminal:
            raise OutputInvalid(
                "the terminal", "Parquet is binary; write it to a file with -o FILE"
            )
        return requested or ExportFormat.TABLE
    chosen = requested or _SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        suffix = f"the suffix {output.suffix}" if output.suffix else "a name without a suffix"
        raise OutputInvalid(str(output), f"{suffix} does not name a format; {_CHOICES}")
    if chosen is ExportFormat.TABLE:
        problem = f"a table can be written to standard output only; for a file, {_CHOICES}"
        raise OutputInvalid(str(output), problem)
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
        raise OutputInvalid(str(output), f"cannot be written: {reason(error)}") from error
