"""CAPTION worker.inference.questions."""

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
    """Hears how many of a job's questions have been through the model."""

    def __call__(self, done: int, size: int, /) -> None:
        """Hear it."""


def answer_questions(
    model: AnsweringModel, texts: Sequence[str], question_chars: int, progress: ProgressCallback
) -> list[Answer]:
    """Answer texts of any kind, in the order given, as every worker does.

    Args:
        model: what answers.
        texts: the questions.
        question_chars: a longer one never reaches the model, nor does a blank one.
        progress: hears how many of those that do are answered.
    """
    ended = {i: end for i, text in enumerate(texts) if (end := _unfit(text, question_chars))}
    fit = [i for i in range(len(texts)) if i not in ended]
    on_pass = partial(_report, progress, len(fit))
    answers = answer_texts(model, [texts[i] for i in fit], on_pass=on_pass)
    ended.update(zip(fit, answers, strict=True))
    return [ended[i] for i in range(len(texts))]


def _report(progress: ProgressCallback, size: int, done: int) -> None:
    progress(done, size)


def _unfit(text: str, question_chars: int) -> Answer | None:
    """Return the end of a question that never reaches the model."""
    if not text.strip():
        return EMPTY
    return TOO_LONG if len(text) > question_chars else None
