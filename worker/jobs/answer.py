"""CAPTION worker.jobs.answer."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby

from worker.inference.model_watcher import ActiveModels
from worker.inference.passes import answer_texts
from worker.inference.protocol import AnsweringModel
from worker.inference.questions import ProgressCallback, answer_questions
from worker.jobs.context import AnsweredJob, ClaimedJobs, FailedJob, JobContext, Outcome

# A question that no model has a reason to fail on; a number makes it one never answered before.
_PROBE_QUESTION = "Hello? {}"


def answer_jobs(
    desk: JobContext, models: ActiveModels, work: ClaimedJobs, progress: ProgressCallback
) -> list[Outcome]:
    """Answer what was claimed; whatever the model raises becomes the outcome of its job.

    Args:
        desk: the rules.
        models: of which each job has one, the same at every attempt.
        work: the claimed jobs.
        progress: hears how many questions are answered, for each model anew.
    """
    told: list[Outcome] = []
    version_of = {claimed.job.id: models.for_job(claimed.job.id) for claimed in work}
    by_version = sorted(work, key=lambda claimed: version_of[claimed.job.id].version)
    for _, same in groupby(by_version, key=lambda claimed: version_of[claimed.job.id].version):
        together = list(same)
        model = version_of[together[0].job.id]
        told += _answer_together(desk, model, together, progress)
    return told


def _answer_together(
    desk: JobContext, model: AnsweringModel, work: ClaimedJobs, progress: ProgressCallback
) -> list[Outcome]:
    started = time.perf_counter()
    texts = [text for claimed in work for _, _, text in claimed.questions]
    try:
        answers = iter(answer_questions(model, texts, desk.question_chars, progress))
    except Exception as error:  # noqa: BLE001 - whatever a model raises counts against the job
        failed = FailedJob(work[0], type(error).__name__, str(error))
    else:
        seconds = time.perf_counter() - started
        return [
            AnsweredJob(
                claimed, [next(answers) for _ in claimed.questions], model.version, started, seconds
            )
            for claimed in work
        ]
    if len(work) == 1:
        return [replace(failed, model_is_broken=not _model_answers_probe(model))]
    alone = (_answer_together(desk, model, [claimed], progress) for claimed in work)
    return [outcome for outcomes in alone for outcome in outcomes]


def _model_answers_probe(model: AnsweringModel) -> bool:
    """Tell whether a model that has just raised answers anything."""
    try:
        answer_texts(model, [_PROBE_QUESTION.format(time.monotonic_ns())])
    except Exception:  # noqa: BLE001 - whatever a model raises
        return False
    return True
