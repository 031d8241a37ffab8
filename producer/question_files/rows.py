"""The rows of a question file as they are written, format by format, in bounded memory.

CSV is separated by commas, or by semicolons or tabs when its header has no comma. Faults of
the format are told with their row: the line of the file for CSV and JSON lines, the row for
Parquet, both counted from 1. What the values may be is not checked here.
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

_LONGEST_LINE = 16 << 20  # characters; a question may be all escapes
_BLOCK = 1 << 16  # characters
_SEPARATORS = ",;\t"
_PARQUET_STEP = 256  # rows: few, as each may be as long as a question gets


@contextmanager
def opened(path: Path, shown: str) -> Iterator[TextIO]:
    """Open a text file; a byte that is no UTF-8 comes out as a surrogate, found in its row."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield stream
    except OSError as error:
        raise SourceInvalid(shown, reason(error)) from error


def reason(error: OSError) -> str:
    """Return what the system says is wrong."""
    return (error.strerror or str(error)).lower()


def _lines(stream: TextIO, shown: str) -> Iterator[str]:
    number = 1
    for lines in _blocks(stream):
        longest = max(map(len, lines))
        if longest >= _LONGEST_LINE or storage_fault("".join(lines)) is not None:
            yield from _checked(lines, number, shown)
        else:
            yield from lines
        number += len(lines)


def _blocks(stream: TextIO) -> Iterator[list[str]]:
    """Read whole lines, many at once: one by one, half of the time would go into it."""
    rest = ""
    while block := stream.read(_BLOCK):
        lines = list(io.StringIO(rest + block, newline=""))
        # The last one may go on; a carriage return may be half of a line's end.
        rest = lines.pop() if len(lines[-1]) < _LONGEST_LINE else ""
        if lines:
            yield lines
    if rest:
        yield [rest]


def _checked(lines: list[str], first: int, shown: str) -> Iterator[str]:
    for number, line in enumerate(lines, first):
        problem = storage_fault(line)
        if len(line) >= _LONGEST_LINE:
            problem = f"the line has {_LONGEST_LINE:,} characters or more"
        if problem is not None:
            raise SourceInvalid(shown, problem, row=number)
        yield line


def csv_rows(stream: TextIO, shown: str, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """Read CSV: the header, then each row with as many fields; None finds the separator."""
    csv.field_size_limit(LONGEST_QUESTION)  # also ends the search for a quotation's other end
    separator = separator or _separator(stream)
    reader = csv.reader(_lines(stream, shown), delimiter=separator, strict=True)
    row, width = 1, 0
    try:
        for fields in reader:
            if len(fields) != width and fields:
                if width:
                    _misfit(shown, row, len(fields), width)
                width = len(fields)
            if fields:
                yield row, fields
            row = reader.line_num + 1
    except csv.Error as error:
        raise SourceInvalid(shown, _csv_fault(error), row=row) from error


def _separator(stream: TextIO) -> str:
    header = stream.readline(_LONGEST_LINE)
    stream.seek(0)
    return "," if "," in header else max(_SEPARATORS, key=header.count)


def _misfit(shown: str, row: int, found: int, wanted: int) -> NoReturn:
    there = "is 1 field" if found == 1 else f"are {found} fields"
    raise SourceInvalid(shown, f"there {there}, the header has {wanted}", row=row)


def _csv_fault(error: csv.Error) -> str:
    told = str(error)
    if "end of data" in told:
        return "a quotation mark is opened here and never closed"
    if "field limit" in told:
        return (
            f"a field has more than {LONGEST_QUESTION:,} characters;"
            " is a quotation mark opened and never closed?"
        )
    return f"broken CSV: {told}"


def json_rows(stream: TextIO, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines: each object; blank lines are passed over."""
    decode = json.JSONDecoder(parse_constant=_refuse).decode
    for row, line in enumerate(_lines(stream, shown), 1):
        if line.isspace():
            continue
        try:
            found = decode(line)
        except json.JSONDecodeError as error:
            at = min(error.pos, len(line.rstrip())) + 1
            problem = f"broken JSON: {error.msg} at character {at}"
            raise SourceInvalid(shown, problem, row=row) from error
        except (ValueError, RecursionError) as error:
            raise SourceInvalid(shown, f"broken JSON: {error}", row=row) from error
        if not isinstance(found, dict):
            hint = "; `jq -c '.[]'` converts an array" if isinstance(found, list) else ""
            raise SourceInvalid(shown, f"the line holds no JSON object{hint}", row=row)
        yield row, found


def _refuse(name: str) -> NoReturn:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def parquet_library() -> tuple[Any, Any]:
    """Import PyArrow, which is large and not everywhere, and its Parquet module.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    return pa, parquet


@contextmanager
def parquet(path: Path, shown: str) -> Iterator[Any]:
    """Open a Parquet file as PyArrow's ParquetFile."""
    pa, library = parquet_library()
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it was given
    try:
        with library.ParquetFile(path, buffer_size=1 << 18, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        problem = (str(error).splitlines() or ["it can't be read"])[0]
        raise SourceInvalid(shown, f"broken Parquet: {problem}") from error


def parquet_rows(file: Any, shown: str, names: list[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:  # noqa: ANN401 - pyarrow's ParquetFile
    """Read these columns of a Parquet file, in this order."""
    row = 0
    for batch in file.iter_batches(_PARQUET_STEP, columns=names, use_threads=False):
        found = [_values(batch.column(name), shown, row) for name in names]
        for values in zip(*found, strict=True):
            row += 1
            yield row, values


def _values(column: Any, shown: str, before: int) -> list[Any]:  # noqa: ANN401 - pyarrow's Array
    values: list[Any] = []
    try:
        for value in column:
            values.append(value.as_py())  # noqa: PERF401 - how many there are names the row
    except UnicodeDecodeError as error:
        raise SourceInvalid(shown, "the text is no UTF-8", row=before + len(values) + 1) from error
    return values
