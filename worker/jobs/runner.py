"""Run the job of one Celery message, then the next jobs of its lane.

While the model computes a job, one thread prefetches the next job of the lane and another
stores the last outcomes. If another message has already claimed the job of this message, the
next job of the lane runs instead. Interactive jobs go first: before each bulk job, a worker
of both lanes looks for them, so an interactive question waits for at most one running job. A
job that failed before runs alone, because it may end the process. When a worker stops, its
prefetched job is given back at once.
Not covered: several tasks at a time in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from core.domain.batch import Lane
from worker.inference.questions import ProgressCallback
from worker.jobs import claim
from worker.jobs.claim_window import ClaimWindow
from worker.jobs.context import (
    AnsweredJob,
    ClaimedJobs,
    JobContext,
    Outcome,
    retry_while_database_unavailable,
)
from worker.jobs.pipeline import JobPrefetcher, ResultWriter, renew_leases


class JobRunner:
    """Runs jobs one after the other, with a prefetcher and a writer."""

    def __init__(
        self,
        context: JobContext,
        attempt: Callable[[ClaimedJobs, ProgressCallback], list[Outcome]],
        *,
        lanes: Sequence[Lane] = tuple(Lane),
        seconds: float = 5.0,
        window: ClaimWindow | None = None,
        should_stop_claiming: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the threads, which start with the first job.

        Args:
            context: the dependencies and limits of the replica.
            attempt: answers claimed jobs.
            lanes: the lanes of this worker.
            seconds: time in which a message may claim further jobs. Higher: fewer messages;
                less of Celery's time limit remains for the last job.
            window: limits a claim; by default, a window with the context's limit.
            should_stop_claiming: returns whether the worker stops or its breaker is open.
        """
        self._context, self._attempt = context, attempt
        self._window = window or ClaimWindow(context.claim_limit)
        self._serves_interactive = Lane.INTERACTIVE in lanes
        self._seconds, self._should_stop_claiming = seconds, should_stop_claiming
        self._reader = ThreadPoolExecutor(1, "prefetch")
        self._writer = ThreadPoolExecutor(1, "write")

    def run_message(
        self, job_id: int, progress: ProgressCallback, lane: Lane | None = None
    ) -> dict[str, object]:
        """Run a queued job, then the next jobs of its lane.

        Args:
            job_id: the message's job.
            progress: receives the progress of each job.
            lane: if the job is no longer queued, the next job of this lane runs instead.

        Returns:
            The task's result for Flower: questions by status, jobs and rate, or why none ran.
        """
        jobs = retry_while_database_unavailable(self._claim, job_id, lane)
        if jobs is None:
            return {"idle": "no job was queued: neither the message's job nor the next one"}
        renew_leases(self._context, jobs)
        writer = ResultWriter(self._context, self._writer)
        try:
            self._run_jobs(jobs, writer, progress)
        finally:
            self._finish(writer)
        return writer.summary()

    def _finish(self, writer: ResultWriter) -> None:
        try:
            writer.finish()
        finally:
            # After an error, too, the renewal must stop. Otherwise the job would never be retried.
            self._context.leases.remove(self._context.leases.jobs)

    def _claim(self, job_id: int, lane: Lane | None) -> ClaimedJobs | None:
        # While the breaker is open, the job runs alone, so that no other job fails with it.
        stop = self._should_stop_claiming()
        context = replace(self._context, claim_limit=0) if stop else self._context
        return claim.claim_job_or_next(context, job_id, lane)

    def _run_jobs(
        self, first: ClaimedJobs, writer: ResultWriter, progress: ProgressCallback
    ) -> None:
        deadline = time.monotonic() + self._seconds
        jobs: ClaimedJobs | None = first
        while jobs is not None:
            failed_before = any(claimed.job.failures for claimed in jobs)
            if not failed_before:
                self._run_interactive_jobs(jobs, deadline, writer, progress)
            prefetcher = JobPrefetcher(self._context, self._should_stop_claiming)
            in_time = time.monotonic() < deadline
            if not failed_before and in_time and not self._should_stop_claiming():
                prefetcher.start(self._reader, jobs[0].job.lane)
            try:
                writer.store(self._timed_attempt(jobs, progress))
            except BaseException:
                prefetcher.give_back()
                raise
            jobs = prefetcher.result()

    def _timed_attempt(self, jobs: ClaimedJobs, progress: ProgressCallback) -> list[Outcome]:
        started_at = time.perf_counter()
        outcomes = self._attempt(jobs, progress)
        seconds = time.perf_counter() - started_at
        answered = all(isinstance(outcome, AnsweredJob) for outcome in outcomes)
        questions = sum(len(claimed.questions) for claimed in jobs) if answered else 0
        self._window.update(questions, seconds)
        self._context = replace(self._context, claim_limit=self._window.limit)
        return outcomes

    def _run_interactive_jobs(
        self, jobs: ClaimedJobs, deadline: float, writer: ResultWriter, progress: ProgressCallback
    ) -> None:
        if jobs[0].job.lane is Lane.INTERACTIVE:
            self._window.note_interactive()
            return
        if not self._serves_interactive or self._window.looked_recently():
            return
        while not self._should_stop_claiming():
            self._window.note_look()
            interactive = retry_while_database_unavailable(
                claim.claim_next_jobs, self._context, Lane.INTERACTIVE
            )
            if interactive is None:
                return
            self._window.note_interactive()
            renew_leases(self._context, interactive)
            writer.store(self._attempt(interactive, progress))
            # Checked after a look, so that a look also precedes the last bulk job of a message.
            if time.monotonic() >= deadline:
                return
