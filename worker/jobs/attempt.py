"""An attempt at claimed jobs, which updates heartbeat and breaker.

Jobs that are answered together count as one attempt for the breaker, because one fault of the
model fails all of them.
Not covered: counting attempts in SQL: `worker.jobs.store`.
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
    """The models of a replica, and the monitors of its attempts."""

    context: JobContext
    models: ModelWatcher
    heartbeat: Heartbeat
    breaker: CircuitBreaker
    slot: int  # number of the replica within the worker, from 0

    def run(self, jobs: ClaimedJobs, progress: ProgressCallback) -> list[Outcome]:
        """Answer claimed jobs, and count the attempt as succeeded or failed."""

        def report(done: int, size: int) -> None:
            self.heartbeat.progress()
            progress(done, size)

        with (
            self.models.locked() as models,
            self.heartbeat.working_on(jobs[0].job.id),
            self.breaker.attempt(self.slot),
        ):
            outcomes = answer.answer_jobs(self.context, models, jobs, report)
        if any(isinstance(outcome, AnsweredJob) for outcome in outcomes):
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        return outcomes
