"""Evaluation of a model version on labelled questions.

The version answers as in a worker. Not covered: the metrics (`metrics`) and their comparison
with production (`gate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.domain.handoff import Reason
from core.domain.result import Answer, Status
from worker.inference.passes import answer_texts
from worker.lifecycle.evaluation.metrics import EvaluationReport, measure

if TYPE_CHECKING:
    from worker.lifecycle.inputs.labelled_questions import Labelled
    from worker.model.loaded_model import LoadedModel

ProgressCallback = Callable[[int], None]  # questions answered


def evaluate(
    model: LoadedModel,
    labelled: Sequence[Labelled],
    question_chars: int,
    on_pass: ProgressCallback | None = None,
) -> EvaluationReport:
    """Answer the questions and measure the answers.

    Args:
        model: the version.
        labelled: the questions and their right answers.
        question_chars: longest question, in characters; a longer one is handed off.
        on_pass: called after each pass with the number of questions answered.
    """
    return evaluate_each(model, labelled, question_chars, on_pass)[1]


def evaluate_each(
    model: LoadedModel,
    labelled: Sequence[Labelled],
    question_chars: int,
    on_pass: ProgressCallback | None = None,
) -> tuple[list[Answer], EvaluationReport]:
    """Return the answers, in the order of the questions, and their metrics.

    The arguments are those of `evaluate`.
    """
    texts = [row.question for row in labelled if len(row.question) <= question_chars]
    answer_texts(model, texts[:1])  # the first pass is slower than the others
    started = time.perf_counter()
    answered = iter(answer_texts(model, texts, on_pass))
    seconds = time.perf_counter() - started
    too_long = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)
    answers = [
        next(answered) if len(row.question) <= question_chars else too_long for row in labelled
    ]
    rate = round(len(texts) / seconds, 1) if texts else None
    return answers, measure(labelled, answers, model.threshold, rate)
