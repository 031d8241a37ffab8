"""Two threads next to the model: prefetch jobs, and store outcomes.

`JobPrefetcher` claims the next job of a lane while the model computes, and gives it back if
no more jobs may be claimed. `ResultWriter` stores the outcomes of one message in order.
Covers one process that runs one task at a time.
Not covered: which jobs run, and when: `worker.jobs.runner`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future

import structlog

from core.domain.batch import Lane
from core.errors import DatabaseUnavailable
from worker.jobs import claim, store
from worker.jobs.context import AnsweredJob, ClaimedJobs, FailedJob, JobContext, Outcome
from worker.jobs.store import close_batches

log = structlog.get_logger()

# Seconds between two checks of whether a prefetched job must be given back. Higher: fewer
# wake-ups; after SIGTERM the job is given back later.
_POLL_SECONDS = 0.1


class JobPrefetcher:
    """The next job of a lane, claimed by a thread ahead of its use."""

    def __init__(self, context: JobContext, should_stop_claiming: Callable[[], bool]) -> None:
        self._context, self._should_stop_claiming = context, should_stop_claiming
        self._requested = threading.Event()
        self._jobs: Future[ClaimedJobs | None] | None = None

    def start(self, reader: Executor, lane: Lane) -> None:
        """Claim and read the next job in the executor."""
        self._jobs = reader.submit(self._claim, lane)

    def result(self) -> ClaimedJobs | None:
        """Return the job, or None if no job was queued or claiming has stopped."""
        self._requested.set()
        jobs = self._jobs.result() if self._jobs else None
        if jobs is None or not self._should_stop_claiming():
            return jobs
        give_back(self._context, jobs)
        return None

    def give_back(self) -> None:
        """Queue the job again."""
        self._requested.set()
        if self._jobs and (jobs := self._jobs.result()):
            give_back(self._context, jobs)

    def _claim(self, lane: Lane) -> ClaimedJobs | None:
        try:
            jobs = claim.claim_next_jobs(self._context, lane)
        except DatabaseUnavailable as error:
            log.warning("job not prefetched", error=str(error))
            return None
        if jobs is None:
            return None
        renew_leases(self._context, jobs)
        while not self._requested.wait(_POLL_SECONDS):
            if self._should_stop_claiming():
                give_back(self._context, jobs)
                return None
        return jobs


class ResultWriter:
    """The outcomes of one message, stored by a thread in order."""

    def __init__(self, context: JobContext, writer: Executor) -> None:
        self._context, self._writer = context, writer
        self._storing: Future[None] | None = None
        self._started_at = time.perf_counter()
        self._stored: list[Outcome] = []
        self._batches: set[int] = set()

    def store(self, outcomes: list[Outcome]) -> None:
        """Store outcomes in the executor, after the previous ones are stored."""
        self._await()
        self._storing = self._writer.submit(self._store, outcomes)

    def finish(self) -> None:
        """Wait until all outcomes are stored, then close finished batches."""
        self._await()
        close_batches(self._context, self._batches)

    def _await(self) -> None:
        storing, self._storing = self._storing, None
        if storing:
            storing.result()

    def _store(self, outcomes: list[Outcome]) -> None:
        try:
            self._stored += store.store_outcomes(self._context, outcomes)
        finally:
            self._context.leases.remove(outcome.claimed.job for outcome in outcomes)
        self._batches |= {outcome.claimed.job.batch_id for outcome in outcomes}

    def summary(self) -> dict[str, object]:
        """Return the task's result, which Flower shows."""
        if not self._stored:
            return {"idle": "the lease was lost"}
        answered = [outcome for outcome in self._stored if isinstance(outcome, AnsweredJob)]
        failed = [outcome for outcome in self._stored if isinstance(outcome, FailedJob)]
        counts = Counter(answer.status.value for outcome in answered for answer in outcome.answers)
        summary: dict[str, object] = {**counts, "jobs": len(self._stored)}
        if failed:
            summary["failed_attempt"] = failed[-1].error
        seconds = time.perf_counter() - self._started_at
        return summary | {"questions_per_s": round(counts.total() / seconds, 1)}


def renew_leases(context: JobContext, jobs: ClaimedJobs) -> None:
    """Renew the leases of claimed jobs until they are stored or given back."""
    context.leases.add(claimed.job for claimed in jobs)


def give_back(context: JobContext, jobs: ClaimedJobs) -> None:
    """Queue claimed jobs again, and stop the renewal of their leases."""
    context.leases.remove(claimed.job for claimed in jobs)
    store.give_back_jobs(context, [claimed.job for claimed in jobs])
