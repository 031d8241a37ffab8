"""Answer texts of any kind, blank and long ones without the model.

Not covered: how the model answers: `worker.inference.passes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from core.domain.handoff import Reason
from core.domain.result import Answer, Status
from worker.inference.passes import answer_texts
from worker.inference.protocol import AnsweringModel

EMPTY = Answer(Status.FAILED, error="empty question")
TOO_LONG = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)


class ProgressCallback(Protocol):
    """A function that receives the progress of a job."""

    def __call__(self, done: int, size: int, /) -> None:
        """Receive the number of answered questions, and of all."""


def answer_questions(
    model: AnsweringModel, texts: Sequence[str], question_chars: int, progress: ProgressCallback
) -> list[Answer]:
    """Answer texts of any kind in the given order.

    Args:
        model: answers.
        texts: the questions.
        question_chars: the maximum length of a question in characters. The model answers neither
            longer questions nor blank ones.
        progress: receives how many of the model's questions are answered.
    """
    answers = {
        i: answer for i, text in enumerate(texts) if (answer := _reject(text, question_chars))
    }
    accepted = [i for i in range(len(texts)) if i not in answers]
    on_pass = partial(_report, progress, len(accepted))
    model_answers = answer_texts(model, [texts[i] for i in accepted], on_pass=on_pass)
    answers.update(zip(accepted, model_answers, strict=True))
    return [answers[i] for i in range(len(texts))]


def _report(progress: ProgressCallback, size: int, done: int) -> None:
    progress(done, size)


def _reject(text: str, question_chars: int) -> Answer | None:
    """Return the answer to a blank or too long question, or None."""
    if not text.strip():
        return EMPTY
    return TOO_LONG if len(text) > question_chars else None
