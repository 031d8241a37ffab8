"""The sweep: any worker mends, every few seconds, what deaths and losses left behind.

Takes back jobs whose lease ran out, ends what was cancelled or is past its deadline, and
sends queued jobs that have no message: never sent, or lost with Redis. Two workers that
sweep at once do no harm: rows are locked and skipped, and a message sent twice finds
nothing to do the second time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
import structlog

from core.domain.batch import BatchState, Lane
from core.domain.job import Job
from core.domain.result import Status
from core.errors import BrokerInUse, ServiceUnavailable
from core.messages import AnswerJob
from db.queries import batches, job_failures, jobs
from db.session import reading, transaction

log = structlog.get_logger()

# Jobs of one transaction: few, so that nobody waits long for their locks.
_STEP = 50

# A message this old may still be on its way from Redis to a claim.
_IN_FLIGHT = timedelta(seconds=5)


class MessageQueue(Protocol):
    """What the sweep needs of Redis; both raise `BrokerUnavailable`."""

    def waiting(self, lane: Lane) -> int:
        """Return how many messages of the lane wait."""

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send the messages."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One worker's sweep and its rules."""

    engine: sa.Engine
    clock: Callable[[], datetime]
    queue: MessageQueue
    attempts: int
    high_water: int
    own: Callable[[], None] = lambda: None  # says that Redis belongs to this database's workers

    def run(self) -> None:
        """Sweep once.

        Raises:
            ServiceUnavailable: the database or Redis is away; what was done stays done.
            BrokerInUse: Redis belongs to another stack; nothing more was sent.
        """
        self.take_back()
        self.expire()
        self.end_stopped()
        with transaction(self.engine) as conn:
            batches.close_finished(conn, self.clock())
        self.own()
        for lane in Lane:
            self.send(lane)

    def take_back(self) -> None:
        """Count a failed attempt for every job whose lease ran out."""
        while True:
            with transaction(self.engine) as conn:
                now = self.clock()
                lost = jobs.expired_leases(conn, now, _STEP)
                for job in lost:
                    self._note_death(conn, job, now)
            if len(lost) < _STEP:
                return

    def _note_death(self, conn: sa.Connection, job: Job, now: datetime) -> None:
        error = "the worker died or lost touch"
        state = job_failures.fail(conn, job, error=error, attempts=self.attempts, now=now)
        log.warning("lease ran out", job=job.id, attempt=job.attempt, now=state.value)

    def expire(self) -> None:
        """Stop the batches whose deadline has passed."""
        with reading(self.engine) as conn:
            overdue = batches.overdue(conn, self.clock())
        for batch in overdue:
            with transaction(self.engine) as conn:
                batches.end_early(conn, batch.id, BatchState.EXPIRED)
            log.info("batch expired", batch=batch.id)

    def end_stopped(self) -> None:
        """Give the waiting questions of cancelled and expired batches their results."""
        with reading(self.engine) as conn:
            stopped = batches.stopped_with_queued_jobs(conn)
        for batch in stopped:
            while True:
                with transaction(self.engine) as conn:
                    status = Status(batch.state.value)
                    now = self.clock()
                    ended = jobs.close_queued(conn, batch, status, limit=_STEP, now=now)
                if ended < _STEP:
                    break

    def send(self, lane: Lane) -> None:
        """Fill the lane up to its high-water mark with jobs that need a message."""
        waiting = self.queue.waiting(lane)
        room = self.high_water - waiting
        if room <= 0:
            return
        now = self.clock()
        lost_before = now - _IN_FLIGHT if waiting == 0 else None
        with transaction(self.engine) as conn:
            messages = jobs.to_send(conn, lane, limit=room, lost_before=lost_before, now=now)
        if messages:
            self.queue.send(messages)
            log.info("jobs sent by sweep", lane=lane.value, jobs=len(messages))


class Sweeper:
    """Runs the sweep every few seconds, jittered so that workers take turns."""

    def __init__(self, sweep: Sweep, seconds: float) -> None:
        self._sweep, self._seconds = sweep, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin; called in the process that answers, after any fork."""
        self._thread.start()

    def stop(self) -> None:
        """End after the sweep in progress."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
            try:
                self._sweep.run()
            except (ServiceUnavailable, BrokerInUse) as error:
                log.warning("sweep put off", error=str(error))
            except Exception:
                log.exception("sweep failed")
