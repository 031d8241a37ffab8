"""Slices of a checked file.

`submit` stores a slice in one transaction. A slice ends after a number of questions, or earlier
after a number of characters, so that memory stays bounded. If the file changes while it is read,
the slices end with an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.domain.batch import Batch, Question
from core.errors import SourceInvalid
from producer.question_files.question_file import CheckedFile
from producer.submission.prefetch import prefetch

_MAX_CHARS = 1 << 20  # characters of a slice; higher: fewer transactions, more memory


def unstored_slices(file: CheckedFile, batch: Batch, size: int) -> Iterator[list[Question]]:
    """Yield the questions after the stored ones, at most `size` in each slice.

    Raises:
        SourceInvalid: the file changed after it was checked.
    """
    hint = f"`answermill cancel {batch.id}` cancels the stored questions"
    problem = f"the file changed while it was read; {hint}"
    change = SourceInvalid(file.source.display_name, problem)
    last = batch.question_count
    try:
        for questions in prefetch(_sliced(file.questions(after=last), size)):
            if file.changed:
                break
            last = questions[-1].position
            yield questions
    except (SourceInvalid, LookupError, RuntimeError, ValueError) as error:
        # The check read every row without a fault, so a changed file is the likely cause.
        if file.changed:
            raise change from error
        raise
    if last != file.count:
        raise change


def _sliced(questions: Iterator[Question], size: int) -> Iterator[list[Question]]:
    current: list[Question] = []
    characters = 0
    for question in questions:
        current.append(question)
        characters += len(question.text)
        if len(current) == size or characters >= _MAX_CHARS:
            yield current
            current, characters = [], 0
    if current:
        yield current
