"""What threads do beside the model: hold the lane's next job, and store the last ones.

Covers one process, in which one task runs at a time; which jobs, and when, is `worker.jobs.runner`'s.
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

# How often a thread that holds the next job looks whether it is enough.
_LOOK_SECONDS = 0.1


class JobPrefetcher:
    """The next job of a lane, held by a thread until it is taken or given back."""

    def __init__(self, desk: JobContext, enough: Callable[[], bool]) -> None:
        self._desk, self._enough = desk, enough
        self._wanted = threading.Event()
        self._work: Future[ClaimedJobs | None] | None = None

    def start(self, reader: Executor, lane: Lane) -> None:
        """Let a thread claim and read."""
        self._work = reader.submit(self._claim, lane)

    def result(self) -> ClaimedJobs | None:
        """Return the job, None if there was none to be had or it is enough."""
        self._wanted.set()
        work = self._work.result() if self._work else None
        if work is None or not self._enough():
            return work
        give_back(self._desk, work)
        return None

    def give_back(self) -> None:
        """Give the job back: it will not be begun here."""
        self._wanted.set()
        if self._work and (work := self._work.result()):
            give_back(self._desk, work)

    def _claim(self, lane: Lane) -> ClaimedJobs | None:
        try:
            work = claim.claim_next_jobs(self._desk, lane)
        except DatabaseUnavailable as error:
            log.warning("no job claimed ahead", error=str(error))
            return None
        if work is None:
            return None
        renew_leases(self._desk, work)
        while not self._wanted.wait(_LOOK_SECONDS):
            if self._enough():
                give_back(self._desk, work)
                return None
        return work


class ResultWriter:
    """What one message's jobs came to, stored by a thread, one after the other."""

    def __init__(self, desk: JobContext, writer: Executor) -> None:
        self._desk, self._writer = desk, writer
        self._storing: Future[None] | None = None
        self._started = time.perf_counter()
        self._stored: list[Outcome] = []
        self._batches: set[int] = set()

    def store(self, outcomes: list[Outcome]) -> None:
        """Let the thread store the outcomes, once the ones before are stored."""
        self._await()
        self._storing = self._writer.submit(self._store, outcomes)

    def finish(self) -> None:
        """Wait until everything is stored; end the batches that have no job left."""
        self._await()
        close_batches(self._desk, self._batches)

    def _await(self) -> None:
        storing, self._storing = self._storing, None
        if storing:
            storing.result()

    def _store(self, outcomes: list[Outcome]) -> None:
        try:
            self._stored += store.store_outcomes(self._desk, outcomes)
        finally:
            self._desk.leases.remove(outcome.claimed.job for outcome in outcomes)
        self._batches |= {outcome.claimed.job.batch_id for outcome in outcomes}

    def summary(self) -> dict[str, object]:
        """Return what Flower shows."""
        if not self._stored:
            return {"idle": "the lease was lost"}
        done = [outcome for outcome in self._stored if isinstance(outcome, AnsweredJob)]
        failed = [outcome for outcome in self._stored if isinstance(outcome, FailedJob)]
        counts = Counter(answer.status.value for outcome in done for answer in outcome.answers)
        told: dict[str, object] = {**counts, "jobs": len(self._stored)}
        if failed:
            told["failed_attempt"] = failed[-1].error
        seconds = time.perf_counter() - self._started
        return told | {"questions_per_s": round(counts.total() / seconds, 1)}


def renew_leases(desk: JobContext, work: ClaimedJobs) -> None:
    """Renew the leases of what was claimed until it is stored or given back."""
    desk.leases.add(claimed.job for claimed in work)


def give_back(desk: JobContext, work: ClaimedJobs) -> None:
    """Queue again what was not begun, and renew its leases no more."""
    desk.leases.remove(claimed.job for claimed in work)
    store.give_back_jobs(desk, [claimed.job for claimed in work])
