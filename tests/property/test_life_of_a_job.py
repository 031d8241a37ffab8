"""Jobs, leases, sweeps, splits, cancels, deadlines and retries in any order, on a simulated clock.

Every step calls what producers, workers and users call, and all that is stored is compared
with a model in plain Python after it. Claims are never forgotten: a worker that was thought
dead may write at any later time. At the end a worker that is healthy must bring everything to
its result. Steps that overlap within their transactions are `test_protocol`'s.
"""

from __future__ import annotations

from datetime import timedelta

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from core.domain.batch import Lane
from core.domain.result import Status
from tests.property.model import ATTEMPTS, LEASE, Submission
from tests.property.promised import Promised
from tests.property.twin import Claim

MOST_BATCHES = 3
ROUNDS = 60  # within which everything must end, halving included

ENDS = st.sampled_from([Status.ANSWERED, Status.HANDED_OFF, Status.FAILED])
PICK = st.integers(0, 11)
LIMIT = st.integers(1, 3)


class LifeOfAJob(Promised):
    """What may happen."""

    # A producer

    @initialize(count=st.integers(1, 5), size=st.integers(1, 4), whole=st.booleans())
    def begin(self, count, size, whole):
        """Most of what is worth seeing needs a batch."""
        self.twin.create(Lane.BULK, None)
        self.twin.append(self._batch(0), count, size, sent=True)
        if whole:
            self.twin.seal(self._batch(0))

    @precondition(lambda self: len(self.model.batches) < MOST_BATCHES)
    @rule(lane=st.sampled_from(Lane), minutes=st.sampled_from([None, None, 1]))
    def create(self, lane, minutes):
        self.twin.create(lane, None if minutes is None else timedelta(minutes=minutes))

    @precondition(lambda self: self.model.batches)
    @rule(pick=PICK, count=st.integers(1, 5), size=st.integers(1, 4), sent=st.booleans())
    def append(self, pick, count, size, sent):
        self.twin.append(self._batch(pick), count, size, sent=sent)

    @precondition(lambda self: self.model.batches)
    @rule(pick=PICK)
    def seal(self, pick):
        self.twin.seal(self._batch(pick))

    # Workers

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def claim_any(self, pick):
        """A message may be old, or come twice."""
        self.twin.claim(list(self.model.jobs)[pick % len(self.model.jobs)])

    @precondition(lambda self: self._waiting())
    @rule(pick=PICK)
    def deliver(self, pick):
        job = self._waiting()[pick % len(self._waiting())]
        self.twin.redis.lanes[self.model.jobs[job].lane].remove(job)
        self.twin.claim(job)

    @precondition(lambda self: self.twin.claims)
    @rule(pick=PICK)
    def renew(self, pick):
        self.twin.renew(self._claim(pick))

    @precondition(lambda self: self.twin.claims)
    @rule(pick=PICK, ways=st.lists(ENDS, min_size=1, max_size=3))
    def finish(self, pick, ways):
        self.twin.finish(self._claim(pick), ways)

    @precondition(lambda self: self.twin.claims)
    @rule(pick=PICK)
    def fail(self, pick):
        self.twin.fail(self._claim(pick))

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK)
    def poison(self, pick):
        """Every attempt dies, until the job is split or its question given up."""
        for _ in range(ATTEMPTS):
            if self.twin.claim(list(self.model.jobs)[-1 - pick % len(self.model.jobs)]):
                self.twin.fail(self.twin.claims[-1])

    @precondition(lambda self: self._waiting())
    @rule(ways=st.lists(ENDS, min_size=1, max_size=3))
    def work(self, ways):
        """Let a healthy worker take all waiting jobs.

        The batch ends if that was all.
        """
        self._work(ways)
        self.twin.sweep_once()

    @precondition(lambda self: self.twin.claims)
    @rule(pick=PICK)
    def give_back(self, pick):
        self.twin.give_back(self._claim(pick))

    @precondition(lambda self: self.twin.claims)
    @rule(pick=PICK)
    def freeze(self, pick):
        """Freeze a worker for longer than its lease: another one gets its job."""
        self.twin.now += LEASE + timedelta(seconds=1)
        self.twin.sweep_once()
        self.twin.claim(self._claim(pick).job.id)

    @rule()
    def sweep(self):
        self.twin.sweep_once()

    # Surroundings

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def time_passes(self, seconds):
        self.twin.now += timedelta(seconds=seconds)

    @rule()
    def redis_is_lost(self):
        self.twin.redis.forget()

    # A user

    @precondition(lambda self: self.model.batches)
    @rule(pick=PICK, sure=st.sampled_from([True, False, False]))
    def cancel(self, pick, sure):
        if sure:
            self.twin.cancel(self._batch(pick))

    @precondition(lambda self: self.model.stopped())
    @rule(pick=PICK, limit=LIMIT)
    def close_queued(self, pick, limit):
        stopped = self.model.stopped()
        self.twin.close_queued(stopped[pick % len(stopped)], limit)

    @precondition(lambda self: self.model.results)
    @rule(pick=PICK, statuses=st.sets(ENDS, min_size=1), limit=LIMIT)
    def retry(self, pick, statuses, limit):
        self.twin.retry(self._batch(pick), statuses, limit)
        for place in self.twin.forgotten:
            self.final.pop(place, None)

    @precondition(lambda self: self.model.batches)
    @rule(pick=PICK, limit=LIMIT)
    def poll(self, pick, limit):
        self._poll(self._batch(pick).id, limit)

    def teardown(self):
        """Let a healthy worker continue.

        Everything ends, and a poller has seen all of it.
        """
        for batch in self.model.batches.values():
            self.twin.seal(batch)
        for _ in range(ROUNDS):
            if not all(batch.finished_at for batch in self.model.batches.values()):
                self.twin.now += LEASE + timedelta(seconds=1)
                self.twin.sweep_once()
                self._work([Status.ANSWERED])
        assert all(batch.finished_at for batch in self.model.batches.values())
        self.what_is_stored_is_what_the_model_says()
        self.the_jobs_cover_every_question_once()
        self.a_result_stays_as_it_is()
        for number in self.model.batches:
            while self._poll(number, 10):
                pass
            there = {row.cursor for place, row in self.final.items() if place[0] == number}
            assert there <= set(self.seen.get(number, []))

    # How

    def _batch(self, pick) -> Submission:
        return list(self.model.batches.values())[pick % len(self.model.batches)]

    def _waiting(self) -> list[int]:
        return [job for lane in self.twin.redis.lanes.values() for job in lane]

    def _claim(self, pick) -> Claim:
        return self.twin.claims[-1 - pick % len(self.twin.claims)]

    def _work(self, ways) -> None:
        for job in self._waiting():
            if self.twin.claim(job):
                self.twin.finish(self.twin.claims[-1], ways)
        self.twin.redis.forget()


def test_whatever_happens_in_any_order_every_question_ends_once_and_as_promised(engine):
    if engine.dialect.name == "postgresql":  # nothing pulls the plug here
        event.listen(engine, "connect", lambda raw, _: raw.execute("SET synchronous_commit = off"))
    # Steps are commits: to shrink a failure takes longer than to read it as it was found.
    phases = set(hypothesis.Phase) - {hypothesis.Phase.shrink}
    settings = hypothesis.settings(max_examples=30, stateful_step_count=40, phases=phases)
    run_state_machine_as_test(lambda: LifeOfAJob(engine), settings=settings)
