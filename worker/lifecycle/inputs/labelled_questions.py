"""Reader of labelled questions: CSV with `question,expected[,scope]`.

`expected` is an entry's id, or several joined by `|`, or empty if a hand-off is right. `scope`
states how far a question without an entry is from the knowledge base. Other columns are
ignored. Rows are numbered as in a spreadsheet: the header is row 1.
"""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import SourceInvalid

QUESTION, EXPECTED, SCOPE = "question", "expected", "scope"
_MAX_NAMED = 10  # unknown entries in an error
_MAX_COLUMNS = 60  # characters for the columns in an error


class QuestionScope(StrEnum):
    """The distance of a question without an entry from the knowledge base."""

    NEAR = "near"  # of the same business, but the entry is missing
    FAR = "far"  # weather, chit-chat


@dataclass(frozen=True)
class Labelled:
    """A question and its right entries, or none if a hand-off is right."""

    question: str
    expected: frozenset[str]
    scope: QuestionScope | None = None  # None: it has an entry, or is not labelled


def read_labelled(path: Path, known: frozenset[str]) -> list[Labelled]:
    """Read labelled questions.

    Args:
        path: the file.
        known: the ids of the entries that `expected` may name.

    Raises:
        SourceInvalid: a row is wrong; or entries are unknown, of which it names several.
    """
    labelled: list[Labelled] = []
    unknown: dict[str, int] = {}
    row_of: dict[str, int] = {}
    for row, cells in read_rows(path, (QUESTION, EXPECTED)):
        question = _labelled(path, row, cells)
        first = row_of.setdefault(question.question.strip(), row)
        if first != row and _contradict(labelled[first - 2], question):
            problem = f"the question has other labels in row {first}, and no answer fits both"
            raise SourceInvalid(str(path), problem, row=row)
        unknown = dict.fromkeys(sorted(question.expected - known), row) | unknown
        labelled.append(question)
    if unknown:
        raise SourceInvalid(str(path), f"the model has {_no_entries(unknown)}")
    if not labelled:
        raise SourceInvalid(str(path), "the file has no questions")
    return labelled


def is_labelled(path: Path) -> bool:
    """Return whether the file is a CSV file with the column `expected`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return EXPECTED in next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):
        return False


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file with their numbers.

    Raises:
        SourceInvalid: the file cannot be read, or lacks one of the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                _check_columns(path, columns, list(reader.fieldnames or []))
                yield from enumerate(reader, start=2)
            except csv.Error as error:
                problem = f"not CSV: {error}"
                raise SourceInvalid(str(path), problem, row=reader.line_num) from error
    except OSError as error:
        raise SourceInvalid(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise SourceInvalid(str(path), "not UTF-8") from error


def _check_columns(path: Path, columns: Sequence[str], header: list[str]) -> None:
    for name in columns:
        if name not in header:
            listed = textwrap.shorten(", ".join(header), _MAX_COLUMNS, placeholder="…") or "none"
            raise SourceInvalid(str(path), f"no column named {name!r} (columns: {listed})")


def _labelled(path: Path, row: int, cells: dict[str, str]) -> Labelled:
    question = cells[QUESTION]
    if not (question or "").strip():
        raise SourceInvalid(str(path), "the question is blank", row=row)
    if cells[EXPECTED] is None:
        raise SourceInvalid(str(path), f"the column {EXPECTED!r} is missing", row=row)
    expected = frozenset(part.strip() for part in cells[EXPECTED].split("|")) - {""}
    return Labelled(question, expected, _scope(path, row, cells.get(SCOPE), expected))


def _scope(
    path: Path, row: int, cell: str | None, expected: frozenset[str]
) -> QuestionScope | None:
    value = (cell or "").strip()
    if not value:
        return None
    if value not in list(QuestionScope):
        problem = f"{SCOPE} is {value[:40]!r}; use near, far or an empty cell"
        raise SourceInvalid(str(path), problem, row=row)
    return None if expected else QuestionScope(value)


def _contradict(first: Labelled, second: Labelled) -> bool:
    both_handed_off = not first.expected and not second.expected
    return not both_handed_off and not first.expected & second.expected


def _no_entries(unknown: dict[str, int]) -> str:
    names = sorted(unknown, key=lambda entry: (unknown[entry], entry))
    shown = ", ".join(f"{entry[:80]!r} (row {unknown[entry]})" for entry in names[:_MAX_NAMED])
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"no entry {shown}{more}"
