"""Measuring a model version: labelled questions, answered as a worker would."""

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
    """Answer the questions and measure.

    Args:
        model: the version.
        labelled: what to ask, and what would be right.
        question_chars: a longer question is handed off, as by a worker.
        on_pass: hears after each pass how many are answered.
    """
    return evaluate_each(model, labelled, question_chars, on_pass)[1]


def evaluate_each(
    model: LoadedModel,
    labelled: Sequence[Labelled],
    question_chars: int,
    on_pass: ProgressCallback | None = None,
) -> tuple[list[Answer], EvaluationReport]:
    """Return the answers too, in the order of the questions; the rest is as above."""
    fit = [row.question for row in labelled if len(row.question) <= question_chars]
    answer_texts(model, fit[:1])  # the first pass is slower than all that follow
    started = time.perf_counter()
    answers = iter(answer_texts(model, fit, on_pass))
    seconds = time.perf_counter() - started
    too_long = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)
    whole = [next(answers) if len(row.question) <= question_chars else too_long for row in labelled]
    rate = round(len(fit) / seconds, 1) if fit else None
    return whole, measure(labelled, whole, model.threshold, rate)
