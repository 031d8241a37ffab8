"""A question file as a stream of questions, in bounded memory whatever its size.

Taken are the text, the key, a column `language`, and of JSON lines an object `metadata`;
other columns are passed over. A blank question is taken: it gets a `failed` result, so that
the caller's file and the results match row by row. Whatever can't be stored or understood
is `SourceInvalid` with its row (see `producer.question_files.rows` for what a row is).

Does not cover where the file comes from, nor duplicate keys: see `producer.question_files.question_file`.
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

# Row, text, key, language and metadata, as they are written.
_Raw = tuple[int, Any, Any, Any, Any]


class FileFormat(StrEnum):
    """How a question file is written."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def separator(self) -> str | None:
        """The one that a name settles; None when the header tells."""
        return "\t" if self is FileFormat.TSV else None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written and which of its columns has what."""

    format: FileFormat
    text: str
    key: str | None  # None: the position is the key
    language: str | None


def columns(path: Path, shown: str, file_format: FileFormat) -> list[str]:
    """Return the names of the file's columns; of JSON lines, the first object's members.

    Raises:
        SourceInvalid: they can't be read.
    """
    if file_format is FileFormat.PARQUET:
        with rows.parquet(path, shown) as file:
            return list(file.schema_arrow.names)
    with rows.opened(path, shown) as stream:
        if file_format is FileFormat.JSONL:
            return next((list(first) for _, first in rows.json_rows(stream, shown)), [])
        header = rows.csv_rows(stream, shown, file_format.separator)
        return next((names for _, names in header), [])


def questions(path: Path, shown: str, layout: Layout) -> Iterator[tuple[int, Question]]:
    """Read the file: each question with its row.

    Raises:
        SourceInvalid: with the row of the first fault.
    """
    if layout.format in (FileFormat.CSV, FileFormat.TSV):
        yield from _csv_questions(path, shown, layout)
        return
    read = _read_jsonl if layout.format is FileFormat.JSONL else _read_parquet
    keyed = layout.key is not None
    for position, (row, text, key, language, metadata) in enumerate(read(path, shown, layout), 1):
        problem = validation.question_fault(text)
        if keyed and not problem:
            key, problem = validation.key_of(key)  # noqa: PLW2901 - as written, then as stored
        if not problem and (language is not None or metadata is not None):
            problem = validation.extras_fault(language, metadata)
        if problem:
            raise SourceInvalid(shown, problem, row=row)
        yield row, Question(position, key if keyed else str(position), text, language, metadata)


def _csv_questions(path: Path, shown: str, layout: Layout) -> Iterator[tuple[int, Question]]:
    # Whatever reading CSV lets through can be stored and is no longer than a question may be.
    with rows.opened(path, shown) as stream:
        found = rows.csv_rows(stream, shown, layout.format.separator)
        _, header = next(found)
        text = header.index(layout.text)
        # A field that there is not is looked up behind the last one.
        key, language = (
            header.index(name) if name else len(header) for name in (layout.key, layout.language)
        )
        keyed = layout.key is not None
        for position, (row, fields) in enumerate(found, 1):
            fields.append("")
            name = fields[key] if keyed else str(position)
            if not 0 < len(name) <= validation.LONGEST_KEY:
                raise SourceInvalid(shown, str(validation.key_of(name)[1]), row=row)
            yield row, Question(position, name, fields[text], fields[language] or None)


def _read_jsonl(path: Path, shown: str, layout: Layout) -> Iterator[_Raw]:
    with rows.opened(path, shown) as stream:
        for row, found in rows.json_rows(stream, shown):
            if layout.key is None and KEY in found:
                raise SourceInvalid(shown, "there is a key, the first row has none", row=row)
            key = found.get(layout.key) if layout.key else None
            metadata = found.get(METADATA)
            if not isinstance(metadata, dict):
                metadata = None
            yield row, found.get(layout.text), key, found.get(LANGUAGE) or None, metadata


def _read_parquet(path: Path, shown: str, layout: Layout) -> Iterator[_Raw]:
    names = list(dict.fromkeys(filter(None, (layout.text, layout.key, layout.language))))
    with rows.parquet(path, shown) as file:
        for row, values in rows.parquet_rows(file, shown, names):
            found = dict(zip(names, values, strict=True))
            key = found[layout.key] if layout.key else None
            language = found[layout.language] if layout.language else None
            yield row, found[layout.text], key, language or None, None
