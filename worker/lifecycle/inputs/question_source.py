"""The questions of a batch or CSV file, to compare two versions on."""

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

KeyedQuestion = tuple[str, str]  # key, text


@dataclass(frozen=True)
class QuestionSource:
    """Questions in pages, of which one is in memory at a time."""

    title: str
    count: int
    pages: Iterator[Sequence[KeyedQuestion]]


def batch_questions(engine: sa.Engine, ref: str) -> QuestionSource:
    """Return all questions of a batch, answered or not.

    Raises:
        BatchUnknown: no batch has this name or id.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    title = f"batch {batch.id} ({batch.name})"
    return QuestionSource(title, batch.question_count, _pages(engine, batch.id))


def _pages(engine: sa.Engine, batch_id: int) -> Iterator[Sequence[KeyedQuestion]]:
    after = 0
    while True:
        with reading(engine) as conn:
            page = results.texts(conn, batch_id, after=after, limit=_PAGE)
        if not page:
            return
        yield [(key, text) for _, key, text in page]
        after = page[-1][0]


def file_questions(path: Path) -> QuestionSource:
    """Return the questions of a CSV file, with the row number as the key.

    Raises:
        SourceInvalid: the file cannot be read, or lacks the column `question` or questions.
    """
    rows = read_rows(path, (QUESTION,))
    questions = [(str(number), row[QUESTION] or "") for number, row in rows]
    if not questions:
        raise SourceInvalid(str(path), "the file has no questions")
    pages = (questions[i : i + _PAGE] for i in range(0, len(questions), _PAGE))
    return QuestionSource(path.name, len(questions), pages)
