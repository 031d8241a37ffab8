"""A model of jobs, batches and results, as they must be.

It is plain Python that is kept next to the database. It knows the promises and not the tables:
what a claim may take, who may write, what a batch's end means. One transaction at a time; what
interleaves inside of them is `protocol`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.domain.batch import BatchState, Lane
from core.domain.job import JobState
from core.domain.result import Status

ATTEMPTS = 3
SPLIT_AT = 2
LEASE = timedelta(seconds=30)
IN_FLIGHT = timedelta(seconds=5)

LIVE = (BatchState.OPEN, BatchState.SEALED)
ACTIVE = (JobState.QUEUED, JobState.RUNNING)
ENDED = (JobState.DONE, JobState.DEAD)


@dataclass
class Slice:
    """A job as it must be."""

    id: int
    batch: int
    lane: Lane
    first: int
    last: int
    created_at: datetime
    sent_at: datetime | None
    state: JobState = JobState.QUEUED
    attempt: int = 0
    failures: int = 0
    lease_until: datetime | None = None

    @property
    def positions(self) -> range:
        """Its questions."""
        return range(self.first, self.last + 1)

    def row(self) -> tuple[object, ...]:
        """What is compared with the database."""
        owned = self.state is JobState.RUNNING
        lease = self.lease_until if owned else None
        place = self.id, self.batch, self.first, self.last
        return *place, self.state, self.attempt, self.failures, lease, self.sent_at


@dataclass
class Submission:
    """A batch as it must be."""

    id: int
    deadline: datetime | None
    count: int = 0
    state: BatchState = BatchState.OPEN
    finished_at: datetime | None = None


@dataclass
class Model:
    """Everything that is stored."""

    jobs: dict[int, Slice] = field(default_factory=dict)
    batches: dict[int, Submission] = field(default_factory=dict)
    results: dict[tuple[int, int], Status] = field(default_factory=dict)
    halves: dict[tuple[int, int], Slice] = field(default_factory=dict)  # whose ids aren't known

    def may_claim(self, job: Slice, now: datetime) -> bool:
        """Whether a worker may take it: queued, of a live batch, in time."""
        batch = self.batches[job.batch]
        in_time = batch.deadline is None or batch.deadline > now
        return job.state is JobState.QUEUED and batch.state in LIVE and in_time

    def claim(self, job: Slice, now: datetime) -> None:
        """Give it to a worker."""
        job.state, job.attempt, job.lease_until = JobState.RUNNING, job.attempt + 1, now + LEASE

    def holds(self, job: int, attempt: int) -> bool:
        """Return whether the worker that claimed it as this attempt may write."""
        found = self.jobs[job]
        return found.state is JobState.RUNNING and found.attempt == attempt

    def unanswered(self, job: Slice) -> list[int]:
        """Which of its questions have no result."""
        return [p for p in job.positions if (job.batch, p) not in self.results]

    def end(self, job: Slice, state: JobState, statuses: dict[int, Status]) -> None:
        """Move it to a final state, with these results."""
        job.state = state
        self.results |= {(job.batch, p): status for p, status in statuses.items()}

    def give_back(self, job: Slice) -> None:
        """Queue it again."""
        job.state, job.sent_at = JobState.QUEUED, None

    def expired_leases(self, now: datetime) -> list[Slice]:
        """Return running jobs whose lease has ended, of any worker."""
        running = [job for job in self.jobs.values() if job.state is JobState.RUNNING]
        return [job for job in running if job.lease_until is not None and job.lease_until < now]

    def fail(self, job: Slice, now: datetime) -> JobState:
        """Note that an attempt died; the halves of a split job are to be adopted."""
        failures = job.failures + 1
        single = job.first == job.last
        if not single and failures >= SPLIT_AT:
            self._split(job, now)
            return job.state
        job.failures = failures
        if single and failures >= ATTEMPTS:
            self.end(job, JobState.DEAD, dict.fromkeys(self.unanswered(job), Status.FAILED))
        else:
            self.give_back(job)
        return job.state

    def _split(self, job: Slice, now: datetime) -> None:
        job.state = JobState.SPLIT
        middle = job.first + len(job.positions) // 2
        for first, last in ((job.first, middle - 1), (middle, job.last)):
            half = Slice(0, job.batch, job.lane, first, last, now, None, failures=1)
            self.halves[job.batch, first] = half

    def adopt(self, number: int, batch: int, first: int) -> None:
        """Add a half of a split job, now that its id is known."""
        half = self.halves.pop((batch, first))
        half.id = number
        self.jobs[number] = half

    def seal(self, batch: Submission, now: datetime) -> None:
        """Record that all of a batch is in."""
        if batch.state is BatchState.OPEN:
            batch.state = BatchState.SEALED
        self.close_finished(now, [batch])

    def expire(self, now: datetime) -> None:
        """Stop the batches that are past their deadline."""
        for batch in self.batches.values():
            if batch.deadline is not None and batch.deadline <= now:
                self.stop(batch, BatchState.EXPIRED)

    def stopped(self) -> list[Submission]:
        """Return cancelled and expired batches."""
        ended = (BatchState.CANCELLED, BatchState.EXPIRED)
        return [batch for batch in self.batches.values() if batch.state in ended]

    def stop(self, batch: Submission, state: BatchState) -> bool:
        """Cancel or expire a batch, unless it has ended."""
        if batch.state not in LIVE:
            return False
        batch.state = state
        return True

    def close_queued(self, batch: Submission, limit: int | None = None) -> int:
        """End the queued jobs of a stopped batch."""
        queued = self.of(batch, JobState.QUEUED)[:limit]
        status = Status(batch.state.value)
        for job in queued:
            ends = dict.fromkeys(self.unanswered(job), status)
            self.end(job, JobState(batch.state.value), ends)
        return len(queued)

    def close_finished(self, now: datetime, some: Iterable[Submission] | None = None) -> None:
        """Note the end of every batch, or of these, that has no active job."""
        for batch in self.batches.values() if some is None else some:
            over = batch.state is not BatchState.OPEN and not self.of(batch, *ACTIVE)
            if batch.finished_at is None and over:
                batch.finished_at = now
                if batch.state is BatchState.SEALED:
                    batch.state = BatchState.DONE

    def retry(self, batch: Submission, statuses: set[Status], limit: int, now: datetime) -> int:
        """Queue again some ended jobs with results of these statuses."""
        wanted = [job for job in self.of(batch, *ENDED) if self._having(job, statuses)][:limit]
        count = 0
        for job in wanted:
            for position in self._having(job, statuses):
                del self.results[job.batch, position]
                count += 1
            job.state, job.failures, job.sent_at, job.created_at = JobState.QUEUED, 0, None, now
        if wanted and batch.state is BatchState.DONE:
            batch.state, batch.finished_at = BatchState.SEALED, None
        return count

    def _having(self, job: Slice, statuses: set[Status]) -> list[int]:
        return [p for p in job.positions if self.results.get((job.batch, p)) in statuses]

    def of(self, batch: Submission, *states: JobState) -> list[Slice]:
        """Return the batch's jobs in these states, oldest first."""
        found = (job for job in self.jobs.values() if job.batch == batch.id)
        return sorted((job for job in found if job.state in states), key=lambda job: job.id)

    def whole(self, batch: Submission) -> list[Slice]:
        """Return the batch's jobs that no halves took the place of."""
        return self.of(batch, *(state for state in JobState if state is not JobState.SPLIT))

    def counts(self, job: Slice) -> list[int]:
        """Count its results by status; a split job's are counted by its halves."""
        kept = [] if job.state is JobState.SPLIT else job.positions
        found = [self.results.get((job.batch, p)) for p in kept]
        return [found.count(status) for status in Status]

    def statuses(self) -> dict[tuple[int, int], str]:
        """Return where every question stands."""
        waiting = {
            (batch.id, p): job.state.value
            for batch in self.batches.values()
            for job in self.whole(batch)
            for p in job.positions
        }
        return waiting | {place: status.value for place, status in self.results.items()}

    def to_send(self, lane: Lane, waiting: int, high_water: int, now: datetime) -> list[int]:
        """Mark and return the jobs for which the sweep must send a message."""

        def needs(job: Slice) -> bool:
            lost = waiting == 0 and job.sent_at is not None and job.sent_at < now - IN_FLIGHT
            return job.sent_at is None or lost

        queued = sorted(job.id for job in self.jobs.values() if job.state is JobState.QUEUED)
        mine = [n for n in queued if self.jobs[n].lane is lane and needs(self.jobs[n])]
        chosen = mine[: max(0, high_water - waiting)]
        for number in chosen:
            self.jobs[number].sent_at = now
        return chosen
