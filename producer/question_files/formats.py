"""A question file as a stream of questions, in bounded memory.

A question has a text, a key, a language (column `language`) and, in JSON lines, an object
`metadata`; other columns are skipped. A blank question is accepted and gets a `failed` result, so
that the file and the results match row by row. A value that cannot be stored or read raises
`SourceInvalid` with its row.

Not covered: opening the file and duplicate keys, see `producer.question_files.question_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.domain.batch import Question
from core.errors import SourceInvalid
from producer.question_files import rows, validation

KEY, LANGUAGE, METADATA = "key", "language", "metadata"

# Row number, text, key, language and metadata, not validated.
_RawRow = tuple[int, Any, Any, Any, Any]


class FileFormat(StrEnum):
    """The format of a question file."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def separator(self) -> str | None:
        """Return the separator, or None if the header determines it."""
        return "\t" if self is FileFormat.TSV else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The format of a file, and the columns that are read."""

    format: FileFormat
    text: str
    key: str | None  # None: the position is the key
    language: str | None


def columns(path: Path, display_name: str, file_format: FileFormat) -> list[str]:
    """Return the column names, or the members of the first JSON object.

    Raises:
        SourceInvalid: the names cannot be read.
    """
    if file_format is FileFormat.PARQUET:
        with rows.open_parquet(path, display_name) as file:
            return list(file.schema_arrow.names)
    with rows.open_text(path, display_name) as stream:
        if file_format is FileFormat.JSONL:
            return next((list(first) for _, first in rows.json_rows(stream, display_name)), [])
        header = rows.csv_rows(stream, display_name, file_format.separator)
        return next((names for _, names in header), [])


def questions(path: Path, display_name: str, layout: Layout) -> Iterator[tuple[int, Question]]:
    """Read the file: each question with its row.

    Raises:
        SourceInvalid: a row is invalid; the error names the first one.
    """
    if layout.format in (FileFormat.CSV, FileFormat.TSV):
        yield from _csv_questions(path, display_name, layout)
        return
    read = _read_jsonl if layout.format is FileFormat.JSONL else _read_parquet
    has_key = layout.key is not None
    raw_rows = enumerate(read(path, display_name, layout), 1)
    for position, (row, text, key, language, metadata) in raw_rows:
        problem = validation.question_fault(text)
        if has_key and not problem:
            key, problem = validation.key_of(key)  # noqa: PLW2901 - raw, then validated
        if not problem and (language is not None or metadata is not None):
            problem = validation.extras_fault(language, metadata)
        if problem:
            raise SourceInvalid(display_name, problem, row=row)
        yield row, Question(position, key if has_key else str(position), text, language, metadata)


def _csv_questions(path: Path, display_name: str, layout: Layout) -> Iterator[tuple[int, Question]]:
    # The reader of CSV already limits the length of a field and refuses unstorable characters.
    with rows.open_text(path, display_name) as stream:
        csv_rows = rows.csv_rows(stream, display_name, layout.format.separator)
        _, header = next(csv_rows)
        text = header.index(layout.text)
        # A missing column is read from the empty field that is appended to each row.
        key, language = (
            header.index(name) if name else len(header) for name in (layout.key, layout.language)
        )
        has_key = layout.key is not None
        for position, (row, fields) in enumerate(csv_rows, 1):
            fields.append("")
            name = fields[key] if has_key else str(position)
            if not 0 < len(name) <= validation.LONGEST_KEY:
                raise SourceInvalid(display_name, str(validation.key_of(name)[1]), row=row)
            yield row, Question(position, name, fields[text], fields[language] or None)


def _read_jsonl(path: Path, display_name: str, layout: Layout) -> Iterator[_RawRow]:
    with rows.open_text(path, display_name) as stream:
        for row, item in rows.json_rows(stream, display_name):
            if layout.key is None and KEY in item:
                problem = "the row has a key, but the first row has none"
                raise SourceInvalid(display_name, problem, row=row)
            key = item.get(layout.key) if layout.key else None
            metadata = item.get(METADATA)
            if not isinstance(metadata, dict):
                metadata = None
            yield row, item.get(layout.text), key, item.get(LANGUAGE) or None, metadata


def _read_parquet(path: Path, display_name: str, layout: Layout) -> Iterator[_RawRow]:
    names = list(dict.fromkeys(filter(None, (layout.text, layout.key, layout.language))))
    with rows.open_parquet(path, display_name) as file:
        for row, values in rows.parquet_rows(file, display_name, names):
            item = dict(zip(names, values, strict=True))
            key = item[layout.key] if layout.key else None
            language = item[layout.language] if layout.language else None
            yield row, item[layout.text], key, language or None, None
