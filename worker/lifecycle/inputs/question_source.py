"""The questions that two versions are compared on: those of an old batch, or of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SourceInvalid
from db.queries import batches, results
from db.session import reading
from worker.lifecycle.inputs.labelled_questions import QUESTION, read_rows

if TYPE_CHECKING:
    import sqlalchemy as sa

_PAGE = 1_000  # questions in memory

Keyed = tuple[str, str]  # a question's key and its text


@dataclass(frozen=True)
class QuestionSource:
    """Questions, page by page, each page in memory once."""

    title: str
    count: int
    pages: Iterator[Sequence[Keyed]]


def batch_questions(engine: sa.Engine, ref: str) -> QuestionSource:
    """Return the questions of a batch, final or not.

    Raises:
        BatchUnknown: there is no such batch.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    title = f"batch {batch.id} ({batch.name})"
    return QuestionSource(title, batch.question_count, _pages(engine, batch.id))


def _pages(engine: sa.Engine, batch_id: int) -> Iterator[Sequence[Keyed]]:
    after = 0
    while True:
        with reading(engine) as conn:
            page = results.texts(conn, batch_id, after=after, limit=_PAGE)
        if not page:
            return
        yield [(key, text) for _, key, text in page]
        after = page[-1][0]


def file_questions(path: Path) -> QuestionSource:
    """Return the questions of a CSV with a column `question`; the row is the key.

    Raises:
        SourceInvalid: it can't be read, or has no such column or no question.
    """
    rows = read_rows(path, (QUESTION,))
    asked = [(str(number), row[QUESTION] or "") for number, row in rows]
    if not asked:
        raise SourceInvalid(str(path), "there is no question in it")
    return QuestionSource(
        path.name, len(asked), (asked[i : i + _PAGE] for i in range(0, len(asked), _PAGE))
    )
