"""The sweep: every worker repairs the state of jobs every few seconds.

It takes back jobs with an expired lease, ends cancelled and overdue batches, and sends queued
jobs that have no message, because it was never sent or was lost with Redis. Several workers
may sweep at the same time: locked rows are skipped, and a second message of a job finds the
job no longer queued.
Not covered: old rows; `answermill db prune` deletes them.
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

from core.domain.batch import Batch, BatchState, Lane
from core.domain.job import Job
from core.domain.result import Status
from core.errors import BrokerInUse, ServiceUnavailable
from core.messages import AnswerJob
from db.queries import batches, job_failures, jobs
from db.session import reading, transaction

log = structlog.get_logger()

# Jobs of one transaction. Higher: fewer transactions; other workers wait longer for the locks.
_JOBS_PER_STEP = 50

# A message may take this long from Redis to the claim of its job. Higher: fewer messages are
# sent twice; jobs whose messages were lost are sent again later.
_IN_FLIGHT = timedelta(seconds=5)


class MessageQueue(Protocol):
    """The sweep's view of Redis, which may raise `BrokerUnavailable`."""

    def waiting(self, lane: Lane) -> int:
        """Return the number of messages that wait in the lane."""

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send the messages."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The sweep of one worker, with its dependencies and limits."""

    engine: sa.Engine
    clock: Callable[[], datetime]
    queue: MessageQueue
    attempts: int  # failed attempts of a single question until it is given up
    high_water: int  # messages of a lane that may wait in Redis
    claim_broker: Callable[[], None] = lambda: None  # marks Redis as owned by this database

    def run(self) -> None:
        """Sweep once.

        Raises:
            ServiceUnavailable: the database or Redis is unavailable; finished steps stay done.
            BrokerInUse: Redis belongs to another stack; no message was sent.
        """
        self.take_back()
        self.expire()
        self.end_stopped()
        with transaction(self.engine) as conn:
            batches.close_finished(conn, self.clock())
        self.claim_broker()
        for lane in Lane:
            self.send(lane)

    def take_back(self) -> None:
        """Take back jobs with an expired lease, as failed attempts."""
        while True:
            with transaction(self.engine) as conn:
                now = self.clock()
                expired = jobs.expired_leases(conn, now, _JOBS_PER_STEP)
                for job in expired:
                    self._count_failure(conn, job, now)
            if len(expired) < _JOBS_PER_STEP:
                return

    def _count_failure(self, conn: sa.Connection, job: Job, now: datetime) -> None:
        error = "the worker died or lost touch"
        state = job_failures.fail(conn, job, error=error, attempts=self.attempts, now=now)
        log.warning("lease expired", job=job.id, attempt=job.attempt, new_state=state.value)

    def expire(self) -> None:
        """Stop the batches whose deadline has passed."""
        with reading(self.engine) as conn:
            overdue = batches.overdue(conn, self.clock())
        for batch in overdue:
            with transaction(self.engine) as conn:
                batches.end_early(conn, batch.id, BatchState.EXPIRED)
            log.info("batch expired", batch=batch.id)

    def end_stopped(self) -> None:
        """Store the results of queued questions in cancelled and expired batches."""
        with reading(self.engine) as conn:
            stopped = batches.stopped_with_queued_jobs(conn)
        for batch in stopped:
            while self._close_queued(batch) == _JOBS_PER_STEP:
                pass

    def _close_queued(self, batch: Batch) -> int:
        with transaction(self.engine) as conn:
            status = Status(batch.state.value)
            now = self.clock()
            return jobs.close_queued(conn, batch, status, limit=_JOBS_PER_STEP, now=now)

    def send(self, lane: Lane) -> None:
        """Send queued jobs without a message, up to the high-water mark."""
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
    """A thread that sweeps every few seconds.

    Jitter makes the workers take turns.
    """

    def __init__(self, sweep: Sweep, seconds: float) -> None:
        self._sweep, self._seconds = sweep, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Start the thread in the child, after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the running sweep."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
            try:
                self._sweep.run()
            except (ServiceUnavailable, BrokerInUse) as error:
                log.warning("sweep postponed", reason=str(error))
            except Exception:
                log.exception("sweep failed")
