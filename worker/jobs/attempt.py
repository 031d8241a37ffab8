"""An attempt at claimed jobs: the models in force answer; vitals and breaker heed how it goes.

Jobs that are answered together count once: one fault of the model fails them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.inference.model_watcher import ModelWatcher
from worker.inference.questions import ProgressCallback
from worker.jobs import answer
from worker.jobs.context import AnsweredJob, ClaimedJobs, JobContext, Outcome
from worker.monitoring.heartbeat import Heartbeat
from worker.recovery.circuit_breaker import CircuitBreaker


@dataclass(frozen=True, slots=True)
class AttemptRunner:
    """What a replica answers with, and who watches it."""

    context: JobContext
    models: ModelWatcher
    heartbeat: Heartbeat
    breaker: CircuitBreaker
    slot: int  # which of the worker's replicas it is

    def run(self, work: ClaimedJobs, progress: ProgressCallback) -> list[Outcome]:
        """Answer claimed jobs with the models in force, and heed how that ended."""

        def heard(done: int, size: int) -> None:
            self.heartbeat.progress()
            progress(done, size)

        with (
            self.models.locked() as models,
            self.heartbeat.working_on(work[0].job.id),
            self.breaker.attempt(self.slot),
        ):
            outcomes = answer.answer_jobs(self.context, models, work, heard)
        if any(isinstance(outcome, AnsweredJob) for outcome in outcomes):
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        return outcomes
