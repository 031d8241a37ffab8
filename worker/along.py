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

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import structlog

from db.entities import Lane
from db.errors import DatabaseAway
from worker import answering
from worker.answering import (
    Answered,
    Desk,
    Failed,
    Outcome,
    Progress,
    Work,
    close_batches,
    outlast_the_database,
)

log = structlog.get_logger()

# So many times the questions of one job are claimed together at most, however fast the model.
_MOST = 8

# How often a thread that holds the next job looks whether it is enough.
_LOOK_SECONDS = 0.1


class Line:
    """Answers jobs one after the other, claiming ahead and writing behind."""

    def __init__(
        self,
        desk: Desk,
        attempt: Callable[[Work, Progress], list[Outcome]],
        *,
        lanes: Sequence[Lane] = tuple(Lane),
        seconds: float = 5.0,
        together_seconds: float = 0.05,
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
            enough: whether no more may be claimed: the worker drains, or nothing succeeds.
        """
        self._desk, self._attempt, self._window = desk, attempt, desk.window
        self._urgent = Lane.INTERACTIVE in lanes
        self._seconds, self._enough = seconds, enough
        self._together_seconds, self._looked_at = together_seconds, float("-inf")
        self._reader = ThreadPoolExecutor(1, "ahead")
        self._writer = ThreadPoolExecutor(1, "behind")

    def answer(
        self, job_id: int, progress: Progress, lane: Lane | None = None
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
        work = outlast_the_database(self._take, job_id, lane)
        if work is None:
            return {"idle": "the job was not queued any more, nor was another"}
        hold(self._desk, work)
        behind = Behind(self._desk, self._writer)
        try:
            self._answer_all(work, behind, progress)
        finally:
            self._end(behind)
        return behind.summary()

    def _end(self, behind: Behind) -> None:
        try:
            behind.end()
        finally:
            # Should anything have raised on the way, no job may stay ours for ever.
            keeper = self._desk.keeper
            keeper.let_go(keeper.held)

    def _take(self, job_id: int, lane: Lane | None) -> Work | None:
        # When nothing succeeds, the one try must not cost small jobs beside it an attempt.
        desk = replace(self._desk, window=0) if self._enough() else self._desk
        work = answering.take(desk, job_id)
        if work is None and lane is not None:
            # Else the messages of jobs that were taken along would hold up those of later ones.
            work = answering.take_next(desk, lane)
        return work

    def _answer_all(self, first: Work, behind: Behind, progress: Progress) -> None:
        until = time.monotonic() + self._seconds
        work: Work | None = first
        while work is not None:
            alone = any(claimed.job.failures for claimed in work)
            if not alone:
                self._urgent_first(work, until, behind, progress)
            ahead = Ahead(self._desk, self._enough)
            if not alone and self._may_take(until):
                ahead.begin(self._reader, work[0].job.lane)
            try:
                behind.store(self._timed_attempt(work, progress))
            except BaseException:
                ahead.drop()
                raise
            work = ahead.take()

    def _timed_attempt(self, work: Work, progress: Progress) -> list[Outcome]:
        started = time.perf_counter()
        outcomes = self._attempt(work, progress)
        seconds = time.perf_counter() - started
        fit = 0.0
        if all(isinstance(outcome, Answered) for outcome in outcomes):
            fit = sum(len(one.questions) for one in work) * self._together_seconds / seconds
        window = min(max(self._window, int(fit)), _MOST * self._window)
        self._desk = replace(self._desk, window=window)
        return outcomes

    def _urgent_first(self, work: Work, until: float, behind: Behind, progress: Progress) -> None:
        if not self._urgent or work[0].job.lane is Lane.INTERACTIVE:
            return
        if time.monotonic() - self._looked_at < self._together_seconds:
            return
        while self._may_take(until):
            self._looked_at = time.monotonic()
            urgent = outlast_the_database(answering.take_next, self._desk, Lane.INTERACTIVE)
            if urgent is None:
                return
            hold(self._desk, urgent)
            behind.store(self._attempt(urgent, progress))

    def _may_take(self, until: float) -> bool:
        return time.monotonic() < until and not self._enough()


class Ahead:
    """The next job of a lane, held by a thread until it is taken or given back."""

    def __init__(self, desk: Desk, enough: Callable[[], bool]) -> None:
        self._desk, self._enough = desk, enough
        self._wanted = threading.Event()
        self._work: Future[Work | None] | None = None

    def begin(self, reader: Executor, lane: Lane) -> None:
        """Let a thread claim and read."""
        self._work = reader.submit(self._claim, lane)

    def take(self) -> Work | None:
        """Return the job, None if there was none to be had or it is enough."""
        self._wanted.set()
        work = self._work.result() if self._work else None
        if work is None or not self._enough():
            return work
        give_back(self._desk, work)
        return None

    def drop(self) -> None:
        """Give the job back: it will not be begun here."""
        self._wanted.set()
        if self._work and (work := self._work.result()):
            give_back(self._desk, work)

    def _claim(self, lane: Lane) -> Work | None:
        try:
            work = answering.take_next(self._desk, lane)
        except DatabaseAway as error:
            log.warning("no job claimed ahead", error=str(error))
            return None
        if work is None:
            return None
        hold(self._desk, work)
        while not self._wanted.wait(_LOOK_SECONDS):
            if self._enough():
                give_back(self._desk, work)
                return None
        return work


class Behind:
    """What one message's jobs came to, stored by a thread, one after the other."""

    def __init__(self, desk: Desk, writer: Executor) -> None:
        self._desk, self._writer = desk, writer
        self._storing: Future[None] | None = None
        self._started = time.perf_counter()
        self._stored: list[Outcome] = []
        self._batches: set[int] = set()

    def store(self, outcomes: list[Outcome]) -> None:
        """Let the thread store the outcomes, once the ones before are stored."""
        self._await()
        self._storing = self._writer.submit(self._store, outcomes)

    def end(self) -> None:
        """Wait until everything is stored; end the batches that have no job left."""
        self._await()
        close_batches(self._desk, self._batches)

    def _await(self) -> None:
        storing, self._storing = self._storing, None
        if storing:
            storing.result()

    def _store(self, outcomes: list[Outcome]) -> None:
        try:
            self._stored += answering.store(self._desk, outcomes)
        finally:
            self._desk.keeper.let_go(outcome.claimed.job for outcome in outcomes)
        self._batches |= {outcome.claimed.job.batch_id for outcome in outcomes}

    def summary(self) -> dict[str, object]:
        """Return what Flower shows."""
        if not self._stored:
            return {"idle": "the lease was lost"}
        done = [outcome for outcome in self._stored if isinstance(outcome, Answered)]
        failed = [outcome for outcome in self._stored if isinstance(outcome, Failed)]
        counts = Counter(answer.status.value for outcome in done for answer in outcome.answers)
        told: dict[str, object] = {**counts, "jobs": len(self._stored)}
        if failed:
            told["failed_attempt"] = failed[-1].error
        seconds = time.perf_counter() - self._started
        return told | {"questions_per_s": round(counts.total() / seconds, 1)}


def hold(desk: Desk, work: Work) -> None:
    """Renew the leases of what was claimed until it is stored or given back."""
    desk.keeper.hold(claimed.job for claimed in work)


def give_back(desk: Desk, work: Work) -> None:
    """Queue again what was not begun, and renew its leases no more."""
    desk.keeper.let_go(claimed.job for claimed in work)
    answering.give_back(desk, work)
