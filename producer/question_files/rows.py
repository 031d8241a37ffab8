"""Rows of a question file, read format by format in bounded memory.

CSV is separated by commas, or by semicolons or tabs if its header has no comma. A fault of the
format names its row, counted from 1: the line of the file for CSV and JSON lines, the row for
Parquet.

Not covered: which values a row may have; see `producer.question_files.validation`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from core.errors import ExtraMissing, SourceInvalid
from producer.question_files.validation import LONGEST_QUESTION, storage_fault

_LONGEST_LINE = 16 << 20  # characters; each character of a question may be an escape sequence
_BLOCK = 1 << 16  # characters
_SEPARATORS = ",;\t"
_PARQUET_BATCH = 256  # rows; higher: more memory, since each may hold the longest question


@contextmanager
def open_text(path: Path, display_name: str) -> Iterator[TextIO]:
    """Open a text file, and read each byte that is not UTF-8 as a surrogate.

    The reader finds the surrogate in its row and reports it.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield stream
    except OSError as error:
        raise SourceInvalid(display_name, reason(error)) from error


def reason(error: OSError) -> str:
    """Return the reason that the operating system gives."""
    return (error.strerror or str(error)).lower()


def _lines(stream: TextIO, display_name: str) -> Iterator[str]:
    number = 1
    for lines in _blocks(stream):
        longest = max(map(len, lines))
        if longest >= _LONGEST_LINE or storage_fault("".join(lines)) is not None:
            yield from _checked(lines, number, display_name)
        else:
            yield from lines
        number += len(lines)


def _blocks(stream: TextIO) -> Iterator[list[str]]:
    """Read blocks of whole lines, because single lines double the time."""
    rest = ""
    while block := stream.read(_BLOCK):
        lines = list(io.StringIO(rest + block, newline=""))
        # The last line may continue, and a carriage return may be half of a line ending.
        rest = lines.pop() if len(lines[-1]) < _LONGEST_LINE else ""
        if lines:
            yield lines
    if rest:
        yield [rest]


def _checked(lines: list[str], first: int, display_name: str) -> Iterator[str]:
    for number, line in enumerate(lines, first):
        problem = storage_fault(line)
        if len(line) >= _LONGEST_LINE:
            problem = f"the line has {_LONGEST_LINE:,} characters or more"
        if problem is not None:
            raise SourceInvalid(display_name, problem, row=number)
        yield line


def csv_rows(
    stream: TextIO, display_name: str, separator: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Read CSV: the header, then each row with as many fields.

    If the separator is None, the header determines it.
    """
    csv.field_size_limit(LONGEST_QUESTION)  # also ends the search for a closing quotation mark
    separator = separator or _separator(stream)
    reader = csv.reader(_lines(stream, display_name), delimiter=separator, strict=True)
    row, width = 1, 0
    try:
        for fields in reader:
            if len(fields) != width and fields:
                if width:
                    _raise_misfit(display_name, row, len(fields), width)
                width = len(fields)
            if fields:
                yield row, fields
            row = reader.line_num + 1
    except csv.Error as error:
        raise SourceInvalid(display_name, _csv_fault(error), row=row) from error


def _separator(stream: TextIO) -> str:
    header = stream.readline(_LONGEST_LINE)
    stream.seek(0)
    return "," if "," in header else max(_SEPARATORS, key=header.count)


def _raise_misfit(display_name: str, row: int, count: int, expected: int) -> NoReturn:
    fields = "1 field" if count == 1 else f"{count} fields"
    raise SourceInvalid(display_name, f"the row has {fields}, the header has {expected}", row=row)


def _csv_fault(error: csv.Error) -> str:
    message = str(error)
    if "end of data" in message:
        return "a quotation mark opens here and is never closed"
    if "field limit" in message:
        return (
            f"a field has more than {LONGEST_QUESTION:,} characters;"
            " check for a quotation mark that is never closed"
        )
    return f"invalid CSV: {message}"


def json_rows(stream: TextIO, display_name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of JSON lines, without blank lines."""
    decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
    for row, line in enumerate(_lines(stream, display_name), 1):
        if line.isspace():
            continue
        try:
            value = decode(line)
        except json.JSONDecodeError as error:
            column = min(error.pos, len(line.rstrip())) + 1
            problem = f"invalid JSON: {error.msg} at character {column}"
            raise SourceInvalid(display_name, problem, row=row) from error
        except (ValueError, RecursionError) as error:
            raise SourceInvalid(display_name, f"invalid JSON: {error}", row=row) from error
        if not isinstance(value, dict):
            hint = "; convert an array with `jq -c '.[]'`" if isinstance(value, list) else ""
            raise SourceInvalid(display_name, f"the line is not a JSON object{hint}", row=row)
        yield row, value


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def parquet_library() -> tuple[Any, Any]:
    """Import PyArrow and its Parquet module, which are large and optional.

    Raises:
        ExtraMissing: PyArrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    return pa, parquet


@contextmanager
def open_parquet(path: Path, display_name: str) -> Iterator[Any]:
    """Open a Parquet file as PyArrow's ParquetFile."""
    pa, library = parquet_library()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pool does not release memory
    try:
        with library.ParquetFile(path, buffer_size=1 << 18, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name is not UTF-8
        problem = (str(error).splitlines() or ["the file cannot be read"])[0]
        raise SourceInvalid(display_name, f"invalid Parquet: {problem}") from error


def parquet_rows(
    file: Any,  # noqa: ANN401 - pyarrow's ParquetFile
    display_name: str,
    names: list[str],
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Read these columns of a Parquet file, in this order."""
    row = 0
    for batch in file.iter_batches(_PARQUET_BATCH, columns=names, use_threads=False):
        columns = [_values(batch.column(name), display_name, row) for name in names]
        for values in zip(*columns, strict=True):
            row += 1
            yield row, values


def _values(column: Any, display_name: str, before: int) -> list[Any]:  # noqa: ANN401 - pyarrow's Array
    values: list[Any] = []
    try:
        for value in column:
            values.append(value.as_py())  # noqa: PERF401 - the number of values names the row
    except UnicodeDecodeError as error:
        row = before + len(values) + 1
        raise SourceInvalid(display_name, "the text is not UTF-8", row=row) from error
    return values
