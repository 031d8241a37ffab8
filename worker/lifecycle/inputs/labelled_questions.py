"""Reading labelled questions: CSV, `question,expected` and, if wanted, `scope`.

`expected` is an entry's id, several joined by `|`, or empty for "must be handed off";
`scope` tells how far such a question is from the knowledge base. Other columns are passed
over. Rows count as in a spreadsheet: the header is row 1.
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
_TOLD = 10  # unknown entries that are named


class QuestionScope(StrEnum):
    """How far a question without an entry is from the knowledge base."""

    NEAR = "near"  # of the same business, only that the entry is missing
    FAR = "far"  # weather, chit-chat


@dataclass(frozen=True)
class Labelled:
    """A question and the entries that would answer it; none: a human must."""

    question: str
    expected: frozenset[str]
    scope: QuestionScope | None = None  # of a question without an entry, where it is told


def read_labelled(path: Path, known: frozenset[str]) -> list[Labelled]:
    """Read labelled questions.

    Args:
        path: the file.
        known: the ids of the entries that `expected` may name.

    Raises:
        SourceInvalid: naming what is wrong and its row; of unknown entries, all.
    """
    labelled: list[Labelled] = []
    unknown: dict[str, int] = {}
    row_of: dict[str, int] = {}
    for row, cells in read_rows(path, (QUESTION, EXPECTED)):
        found = _labelled(path, row, cells)
        first = row_of.setdefault(found.question.strip(), row)
        if first != row and _contradict(labelled[first - 2], found):
            problem = (
                f"no answer is right for this question both as labelled here and in row {first}"
            )
            raise SourceInvalid(str(path), problem, row=row)
        unknown = dict.fromkeys(sorted(found.expected - known), row) | unknown
        labelled.append(found)
    if unknown:
        raise SourceInvalid(str(path), f"the model has {_no_entries(unknown)}")
    if not labelled:
        raise SourceInvalid(str(path), "there is no question in it")
    return labelled


def is_labelled(path: Path) -> bool:
    """Tell whether a CSV has a column `expected`; one that can't be read has none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return EXPECTED in next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):
        return False


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a CSV's rows with their numbers.

    Raises:
        SourceInvalid: it can't be read, or lacks one of the columns.
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


def _check_columns(path: Path, columns: Sequence[str], found: list[str]) -> None:
    for name in columns:
        if name not in found:
            listed = textwrap.shorten(", ".join(found), 60, placeholder="…") or "none"
            raise SourceInvalid(str(path), f"no column {name!r}; there are: {listed}")


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
    told = (cell or "").strip()
    if not told:
        return None
    if told not in list(QuestionScope):
        problem = f"{SCOPE} is {told[:40]!r}; it may be near, far or empty"
        raise SourceInvalid(str(path), problem, row=row)
    return None if expected else QuestionScope(told)


def _contradict(one: Labelled, other: Labelled) -> bool:
    both_handed_off = not one.expected and not other.expected
    return not both_handed_off and not one.expected & other.expected


def _no_entries(unknown: dict[str, int]) -> str:
    named = sorted(unknown, key=lambda entry: (unknown[entry], entry))
    told = ", ".join(f"{entry[:80]!r} (row {unknown[entry]})" for entry in named[:_TOLD])
    more = f" and {len(named) - _TOLD} more" if len(named) > _TOLD else ""
    return f"no entry {told}{more}"
