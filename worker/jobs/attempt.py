"""An attempt at claimed jobs: the models in force answer; vitals and breaker heed how it goes.

Jobs that are answered together count once: one fault of the model fails them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.inference.model_watcher import Following
from worker.inference.questions import Progress
from worker.jobs import answer
from worker.jobs.context import Answered, JobContext, Outcome, Work
from worker.monitoring.heartbeat import Vitals
from worker.recovery.circuit_breaker import Breaker


@dataclass(frozen=True, slots=True)
class Attempts:
    """What a replica answers with, and who watches it."""

    desk: JobContext
    following: Following
    vitals: Vitals
    breaker: Breaker
    slot: int  # which of the worker's replicas it is

    def answer(self, work: Work, progress: Progress) -> list[Outcome]:
        """Answer claimed jobs with the models in force, and heed how that ended."""

        def heard(done: int, size: int) -> None:
            self.vitals.progress()
            progress(done, size)

        with (
            self.following.at_work() as models,
            self.vitals.working_on(work[0].job.id),
            self.breaker.attempt(self.slot),
        ):
            outcomes = answer.answer(self.desk, models, work, heard)
        if any(isinstance(outcome, Answered) for outcome in outcomes):
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        return outcomes
