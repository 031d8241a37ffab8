"""The database and its model, moved together: each step is made in both, and must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.batch import Batch, BatchState, Lane
from core.domain.job import Job, JobState
from core.domain.result import Status
from core.errors import BatchClosed, LeaseLost
from core.messages import AnswerJob
from db import tables
from db.queries import batches, claims, job_failures, jobs, results, retries
from db.queries.questions import append
from db.session import reading, transaction
from tests.factories import NOW, questions, result
from tests.property.model import ATTEMPTS, LEASE, Model, Slice, Submission
from worker.recovery.sweep import Sweep

HIGH_WATER = 3  # jobs of a lane in Redis


@dataclass
class Redis:
    """Messages that can be lost, doubled and out of order."""

    lanes: dict[Lane, list[int]] = field(default_factory=lambda: {lane: [] for lane in Lane})

    def waiting(self, lane: Lane) -> int:
        """Return how many wait."""
        return len(self.lanes[lane])

    def send(self, messages: Sequence[AnswerJob]) -> None:
        """Send them."""
        for message in messages:
            self.lanes[message.lane].append(message.job)

    def forget(self) -> None:
        """Lose all of them."""
        self.lanes = {lane: [] for lane in Lane}


@dataclass
class Claim:
    """What a worker holds, or once held: it may write at any later time."""

    job: Job
    positions: list[int]


class Twin:
    """Producers, workers and users of one database, next to the model of it."""

    def __init__(self, engine: sa.Engine):
        self.engine = engine
        self.now = NOW
        self.model = Model()
        self.redis = Redis()
        self.batches: dict[int, Batch] = {}
        self.claims: list[Claim] = []
        self.forgotten: set[tuple[int, int]] = set()  # by the last retry
        self.sweep = Sweep(engine, lambda: self.now, self.redis, ATTEMPTS, HIGH_WATER)
        with transaction(engine) as conn:
            for table in (tables.result_rows, tables.questions, tables.jobs, tables.batches):
                conn.execute(table.delete())

    def create(self, lane: Lane, deadline: timedelta | None) -> None:
        """Open a batch."""
        due = None if deadline is None else self.now + deadline
        name = f"batch {len(self.batches)}"
        words = {"name": name, "idempotency_key": name, "source": "f.csv"}
        with transaction(self.engine) as conn:
            batch = batches.create(conn, **words, lane=lane, now=self.now, deadline=due)
        self.batches[batch.id] = batch
        self.model.batches[batch.id] = Submission(batch.id, due)

    def append(self, batch: Submission, count: int, size: int, *, sent: bool) -> None:
        """Add questions to a batch, which takes them while it is open."""
        asked = questions(count, batch.count + 1)
        added = {"job_size": size, "sent": sent, "now": self.now}
        if batch.state is not BatchState.OPEN:
            with pytest.raises(BatchClosed), transaction(self.engine) as conn:
                append(conn, self.batches[batch.id], asked, **added)
            return
        with transaction(self.engine) as conn:
            messages = append(conn, self.batches[batch.id], asked, **added)
        for number, message in enumerate(messages):
            first = batch.count + 1 + number * size
            last = min(first + size - 1, batch.count + count)
            place = (message.job, batch.id, message.lane, first, last)
            at = self.now if sent else None
            self.model.jobs[message.job] = Slice(*place, self.now, at)
        batch.count += count
        if sent:
            self.redis.send(messages)

    def seal(self, batch: Submission) -> None:
        """Record that all is in."""
        with transaction(self.engine) as conn:
            batches.seal(conn, self.batches[batch.id], self.now)
        self.model.seal(batch, self.now)

    def claim(self, number: int) -> bool:
        """Let a worker take a job, if it may."""
        slice_ = self.model.jobs[number]
        with transaction(self.engine) as conn:
            job = claims.claim_job(conn, number, owner="worker", lease=LEASE, now=self.now)
            found = [] if job is None else self._unanswered(conn, job)
        assert (job is not None) is self.model.may_claim(slice_, self.now)
        if job is None:
            return False
        assert found == self.model.unanswered(slice_)
        self.model.claim(slice_, self.now)
        self.claims.append(Claim(job, found))
        return True

    def _unanswered(self, conn: sa.Connection, job: Job) -> list[int]:
        rows = results.unanswered(conn, job.batch_id, job.first_position, job.last_position)
        return [position for position, _, _ in rows]

    def write(self, claim: Claim, call: object, **values: object) -> object:
        """Let a worker write; one that does not hold the job any more must not be able to."""
        if self.model.holds(claim.job.id, claim.job.attempt):
            with transaction(self.engine) as conn:
                return call(conn, claim.job, **values)
        with pytest.raises(LeaseLost), transaction(self.engine) as conn:
            call(conn, claim.job, **values)
        return None

    def renew(self, claim: Claim) -> None:
        """Hold the job for another lease."""
        held = self.model.holds(claim.job.id, claim.job.attempt)
        self.write(claim, jobs.renew, lease=LEASE, now=self.now)
        if held:
            self.model.jobs[claim.job.id].lease_until = self.now + LEASE

    def finish(self, claim: Claim, ways: Sequence[Status]) -> None:
        """Store results, these ones in turn."""
        held = self.model.holds(claim.job.id, claim.job.attempt)
        ends = {p: ways[n % len(ways)] for n, p in enumerate(claim.positions)}
        rows = [result(p, status) for p, status in ends.items()]
        self.write(claim, jobs.finish, answers=rows, now=self.now)
        if held:
            self.model.end(self.model.jobs[claim.job.id], JobState.DONE, ends)

    def fail(self, claim: Claim) -> None:
        """Note that the attempt died."""
        held = self.model.holds(claim.job.id, claim.job.attempt)
        state = self.write(claim, job_failures.fail, error="boom", attempts=ATTEMPTS, now=self.now)
        if held:
            assert state is self.model.fail(self.model.jobs[claim.job.id], self.now)
            self._adopt_halves()

    def give_back(self, claim: Claim) -> None:
        """Queue a job that failed in nothing."""
        held = self.model.holds(claim.job.id, claim.job.attempt)
        self.write(claim, jobs.give_back)
        if held:
            self.model.give_back(self.model.jobs[claim.job.id])

    def sweep_once(self) -> None:
        """Sweep as every worker does."""
        waiting = {lane: self.redis.waiting(lane) for lane in Lane}
        self.sweep.run()
        for slice_ in self.model.expired_leases(self.now):
            self.model.fail(slice_, self.now)
        self._adopt_halves()
        self.model.expire(self.now)
        for batch in self.model.stopped():
            self.model.close_queued(batch)
        self.model.close_finished(self.now)
        for lane in Lane:
            sent = self.model.to_send(lane, waiting[lane], HIGH_WATER, self.now)
            assert self.redis.lanes[lane][waiting[lane] :] == sent
            assert len(self.redis.lanes[lane]) <= max(waiting[lane], HIGH_WATER)

    def _adopt_halves(self) -> None:
        """Add the halves of split jobs to the model, which can't know their ids."""
        known = tables.jobs.c.id.in_(self.model.jobs)
        columns = tables.jobs.c.id, tables.jobs.c.batch_id, tables.jobs.c.first_position
        with reading(self.engine) as conn:
            new = conn.execute(sa.select(*columns).where(~known).order_by(tables.jobs.c.id)).all()
        for number, batch, first in new:
            self.model.adopt(number, batch, first)

    def cancel(self, batch: Submission) -> None:
        """Make the first step of a cancel: from here on nothing of it may start."""
        with transaction(self.engine) as conn:
            stopped = batches.end_early(conn, batch.id, BatchState.CANCELLED)
        assert stopped is self.model.stop(batch, BatchState.CANCELLED)

    def close_queued(self, batch: Submission, limit: int) -> None:
        """End some jobs of a stopped batch."""
        ended = {"status": Status(batch.state.value), "limit": limit, "now": self.now}
        with transaction(self.engine) as conn:
            count = jobs.close_queued(conn, self.batches[batch.id], **ended)
        assert count == self.model.close_queued(batch, limit)

    def retry(self, batch: Submission, statuses: set[Status], limit: int) -> None:
        """Let some questions run again, unless the batch was stopped."""
        again = {"statuses": sorted(statuses), "limit": limit, "now": self.now}
        if batch in self.model.stopped():
            with pytest.raises(BatchClosed), transaction(self.engine) as conn:
                retries.retry(conn, self.batches[batch.id], **again)
            return
        with transaction(self.engine) as conn:
            count = retries.retry(conn, self.batches[batch.id], **again)
        before = set(self.model.results)
        assert count == self.model.retry(batch, statuses, limit, self.now)
        self.forgotten = before - set(self.model.results)
