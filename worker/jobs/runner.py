"""What one message sets off: its job, and the lane's next ones along with it.

While the model computes a job, one thread claims and reads the next one of the lane, and
another writes the last one: the model waits for neither. The message of a job that was taken
along takes the next one instead, or finds nothing to do.

Interactive jobs come first: before each bulk job a worker that serves both lanes looks for
interactive ones, so that a question waits for the one job in progress at most. A job that
failed before travels alone, since it may take the process with it. Once the worker drains,
what was claimed ahead is given back at once.

Covers one process, in which one task runs at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from core.domain.batch import Lane
from worker.inference.questions import ProgressCallback
from worker.jobs import claim
from worker.jobs.context import (
    AnsweredJob,
    ClaimedJobs,
    JobContext,
    Outcome,
    retry_while_database_unavailable,
)
from worker.jobs.pipeline import JobPrefetcher, ResultWriter, renew_leases

# So many times the questions of one job are claimed together at most, however fast the model.
_MOST = 8

# After so many seconds without an interactive question none is expected.
_CALM_SECONDS = 60.0


class JobRunner:
    """Answers jobs one after the other, claiming ahead and writing behind."""

    def __init__(
        self,
        desk: JobContext,
        attempt: Callable[[ClaimedJobs, ProgressCallback], list[Outcome]],
        *,
        lanes: Sequence[Lane] = tuple(Lane),
        seconds: float = 5.0,
        together_seconds: float = 0.05,
        calm_seconds: float = 0.7,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin with nothing; the threads start with the first job.

        Args:
            desk: the rules.
            attempt: answers what was claimed.
            lanes: those that this worker serves.
            seconds: after which a message's job takes no more along. More: fewer messages;
                less of Celery's time limit is left for the last job.
            together_seconds: jobs that the model answers within this are claimed together, and
                share a look for interactive ones. More: fewer transactions; an interactive
                question may wait for so much longer than for the job in progress.
            calm_seconds: the same where no interactive question has come for a minute, or none
                is served. More: fuller passes; the first one that comes may wait so long.
            enough: whether no more may be claimed: the worker drains, or nothing succeeds.
        """
        self._desk, self._attempt, self._window = desk, attempt, desk.claim_limit
        self._urgent = Lane.INTERACTIVE in lanes
        self._seconds, self._enough = seconds, enough
        self._together_seconds, self._looked_at = together_seconds, float("-inf")
        self._calm_seconds, self._urgent_at = calm_seconds, float("-inf")
        self._reader = ThreadPoolExecutor(1, "ahead")
        self._writer = ThreadPoolExecutor(1, "behind")

    def run_message(
        self, job_id: int, progress: ProgressCallback, lane: Lane | None = None
    ) -> dict[str, object]:
        """Answer a queued job and what it takes along.

        Args:
            job_id: the message's job.
            progress: hears how far each job is.
            lane: the message's; when its job was taken along, the next one of the lane is
                answered instead.

        Returns:
            What Flower shows: questions by status, jobs and the rate, or why there was
            nothing to do.
        """
        work = retry_while_database_unavailable(self._claim, job_id, lane)
        if work is None:
            return {"idle": "the job was not queued any more, nor was another"}
        renew_leases(self._desk, work)
        behind = ResultWriter(self._desk, self._writer)
        try:
            self._run_jobs(work, behind, progress)
        finally:
            self._end(behind)
        return behind.summary()

    def _end(self, behind: ResultWriter) -> None:
        try:
            behind.finish()
        finally:
            # Should anything have raised on the way, no job may stay ours for ever.
            keeper = self._desk.leases
            keeper.remove(keeper.jobs)

    def _claim(self, job_id: int, lane: Lane | None) -> ClaimedJobs | None:
        # When nothing succeeds, the one try must not cost small jobs beside it an attempt.
        desk = replace(self._desk, claim_limit=0) if self._enough() else self._desk
        work = claim.claim_job(desk, job_id)
        if work is None and lane is not None:
            # Else the messages of jobs that were taken along would hold up those of later ones.
            work = claim.claim_next_jobs(desk, lane)
        return work

    def _run_jobs(
        self, first: ClaimedJobs, behind: ResultWriter, progress: ProgressCallback
    ) -> None:
        until = time.monotonic() + self._seconds
        work: ClaimedJobs | None = first
        while work is not None:
            alone = any(claimed.job.failures for claimed in work)
            if not alone:
                self._run_interactive_jobs(work, until, behind, progress)
            ahead = JobPrefetcher(self._desk, self._enough)
            if not alone and self._may_claim(until):
                ahead.start(self._reader, work[0].job.lane)
            try:
                behind.store(self._timed_attempt(work, progress))
            except BaseException:
                ahead.give_back()
                raise
            work = ahead.result()

    def _timed_attempt(self, work: ClaimedJobs, progress: ProgressCallback) -> list[Outcome]:
        started = time.perf_counter()
        outcomes = self._attempt(work, progress)
        seconds = time.perf_counter() - started
        fit = 0.0
        if all(isinstance(outcome, AnsweredJob) for outcome in outcomes):
            fit = sum(len(one.questions) for one in work) * self._bearable() / seconds
        window = min(max(self._window, int(fit)), _MOST * self._window)
        self._desk = replace(self._desk, claim_limit=window)
        return outcomes

    def _bearable(self) -> float:
        """Return for how many seconds jobs may be answered together."""
        calm = time.monotonic() - self._urgent_at > _CALM_SECONDS
        return self._calm_seconds if calm else self._together_seconds

    def _run_interactive_jobs(
        self, work: ClaimedJobs, until: float, behind: ResultWriter, progress: ProgressCallback
    ) -> None:
        if work[0].job.lane is Lane.INTERACTIVE:
            self._urgent_at = time.monotonic()
            return
        if not self._urgent:
            return
        if time.monotonic() - self._looked_at < self._together_seconds:
            return
        while not self._enough():
            self._looked_at = time.monotonic()
            urgent = retry_while_database_unavailable(
                claim.claim_next_jobs, self._desk, Lane.INTERACTIVE
            )
            if urgent is None:
                return
            self._urgent_at = time.monotonic()
            renew_leases(self._desk, urgent)
            behind.store(self._attempt(urgent, progress))
            # Before the last bulk job it is looked once, too: a question would wait for two.
            if time.monotonic() >= until:
                return

    def _may_claim(self, until: float) -> bool:
        return time.monotonic() < until and not self._enough()
