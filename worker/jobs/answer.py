"""Answer the questions of claimed jobs with the active models.

Jobs of the same version are answered together. If the model raises on several jobs, each of
them is answered again alone, so that only the failing job has a failed attempt.
Not covered: storing the outcomes: `worker.jobs.store`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby

from worker.inference.model_watcher import ActiveModels
from worker.inference.passes import answer_texts
from worker.inference.protocol import AnsweringModel
from worker.inference.questions import ProgressCallback, answer_questions
from worker.jobs.context import AnsweredJob, ClaimedJobs, FailedJob, JobContext, Outcome

# A question on which a working model does not fail. The number keeps it out of the answer cache.
_PROBE_QUESTION = "Hello? {}"


def answer_jobs(
    context: JobContext, models: ActiveModels, jobs: ClaimedJobs, progress: ProgressCallback
) -> list[Outcome]:
    """Answer claimed jobs, and turn errors of the model into outcomes.

    Args:
        context: the limits of the replica.
        models: the active models; a job gets the same one in every attempt.
        jobs: the claimed jobs.
        progress: receives the number of answered questions, counted for each model.
    """
    outcomes: list[Outcome] = []
    model_of = {claimed.job.id: models.for_job(claimed.job.id) for claimed in jobs}
    by_version = sorted(jobs, key=lambda claimed: model_of[claimed.job.id].version)
    for _, group in groupby(by_version, key=lambda claimed: model_of[claimed.job.id].version):
        same_version = list(group)
        model = model_of[same_version[0].job.id]
        outcomes += _answer_together(context, model, same_version, progress)
    return outcomes


def _answer_together(
    context: JobContext, model: AnsweringModel, jobs: ClaimedJobs, progress: ProgressCallback
) -> list[Outcome]:
    started_at = time.perf_counter()
    texts = [text for claimed in jobs for _, _, text in claimed.questions]
    try:
        answers = iter(answer_questions(model, texts, context.question_chars, progress))
    except Exception as error:  # noqa: BLE001 - any error of a model counts against the job
        failed = FailedJob(jobs[0], type(error).__name__, str(error))
    else:
        seconds = time.perf_counter() - started_at
        return [
            AnsweredJob(
                claimed,
                [next(answers) for _ in claimed.questions],
                model.version,
                started_at,
                seconds,
            )
            for claimed in jobs
        ]
    if len(jobs) == 1:
        return [replace(failed, model_is_broken=not _model_answers_probe(model))]
    alone = (_answer_together(context, model, [claimed], progress) for claimed in jobs)
    return [outcome for outcomes in alone for outcome in outcomes]


def _model_answers_probe(model: AnsweringModel) -> bool:
    """Return whether a model that has just raised answers the probe question."""
    try:
        answer_texts(model, [_PROBE_QUESTION.format(time.monotonic_ns())])
    except Exception:  # noqa: BLE001 - any error means that the model is broken
        return False
    return True
