"""Repairs by the sweep, on both databases, with a list as the queue."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane
from core.errors import BrokerInUse, BrokerUnavailable
from core.messages import AnswerJob
from db.clock import DatabaseClock
from db.queries import batches, claims, jobs
from db.session import reading, transaction
from db.tables import jobs as job_table
from db.tables import results as visible
from tests.factories import queued_ids, stored_batch
from tests.fakes import FakeQueue
from worker.recovery.sweep import Sweep

LEASE = timedelta(seconds=30)


@pytest.fixture
def world(engine):
    return World(engine)


class World:
    """A database whose clock can be moved."""

    def __init__(self, engine):
        self.engine, self.queue, self.ahead = engine, FakeQueue(), timedelta()
        real = DatabaseClock(engine)
        self.clock = lambda: real() + self.ahead
        self.sweep = Sweep(engine, self.clock, self.queue, attempts=3, high_water=5)

    def submit(self, count, *, sent, deadline=None, job_size=1, lane=Lane.BULK):
        now = self.clock()
        batch = stored_batch(
            self.engine,
            count,
            job_size=job_size,
            sent=sent,
            now=now,
            name=f"b-{now.timestamp()}",
            lane=lane,
            deadline=deadline,
        )
        return batch, queued_ids(self.engine, batch)

    def claim(self, job):
        with transaction(self.engine) as conn:
            return claims.claim_job(conn, job, owner="o", lease=LEASE, now=self.clock())

    def statuses(self, batch):
        with reading(self.engine) as conn:
            query = sa.select(visible.c.status).where(visible.c.batch_id == batch.id)
            return list(conn.scalars(query.order_by(visible.c.position)))

    def states(self):
        with reading(self.engine) as conn:
            return list(conn.scalars(sa.select(job_table.c.state).order_by(job_table.c.id)))


def test_jobs_that_were_never_sent_are_sent_up_to_the_high_water_mark(world):
    _, submitted = world.submit(8, sent=False)
    world.sweep.run()
    assert [m.job for m in world.queue.lanes[Lane.BULK]] == submitted[:5]
    world.queue.lanes[Lane.BULK] = world.queue.lanes[Lane.BULK][3:]
    world.sweep.run()
    assert [m.job for m in world.queue.lanes[Lane.BULK]] == submitted[3:]


def test_jobs_whose_messages_were_lost_are_sent_again(world):
    _, submitted = world.submit(3, sent=True)
    world.sweep.run()
    assert world.queue.lanes[Lane.BULK] == []  # they may still be on their way
    world.ahead = timedelta(seconds=10)
    world.sweep.run()
    assert [m.job for m in world.queue.lanes[Lane.BULK]] == submitted


def test_sent_jobs_are_not_sent_again_while_their_lane_still_holds_messages(world):
    world.submit(3, sent=True)
    world.queue.lanes[Lane.BULK] = [AnswerJob(999, 1, Lane.BULK, 1)]
    world.ahead = timedelta(seconds=10)
    world.sweep.run()
    assert len(world.queue.lanes[Lane.BULK]) == 1


def test_messages_that_wait_in_a_lane_count_towards_its_high_water_mark(world):
    world.submit(9, sent=False)
    world.queue.lanes[Lane.BULK] = [AnswerJob(n, 1, Lane.BULK, 1) for n in (997, 998, 999)]
    world.sweep.run()
    assert len(world.queue.lanes[Lane.BULK]) == 5


def test_each_lane_is_filled_separately(world):
    world.submit(9, sent=False)
    world.submit(1, sent=False, lane=Lane.INTERACTIVE)
    world.sweep.run()
    assert len(world.queue.lanes[Lane.INTERACTIVE]) == 1


def test_a_dead_workers_job_is_queued_again_and_a_live_one_is_left_alone(world):
    _, (dead, live) = world.submit(2, sent=True)
    world.claim(dead)
    world.ahead = timedelta(seconds=20)
    world.claim(live)
    world.ahead = timedelta(seconds=35)
    world.sweep.run()
    assert world.states() == ["queued", "running"]


def test_a_single_question_that_keeps_killing_workers_is_given_up(world):
    batch, (job,) = world.submit(1, sent=True)
    for _ in range(3):
        assert world.claim(job) is not None
        world.ahead += timedelta(seconds=60)
        world.sweep.run()
    assert world.states() == ["dead"]
    assert world.statuses(batch) == ["failed"]
    with reading(world.engine) as conn:
        assert batches.find(conn, str(batch.id)).state is BatchState.DONE


def test_a_batch_past_its_deadline_expires_with_a_result_for_each_question(world):
    batch, _ = world.submit(120, sent=True, deadline=world.clock() + timedelta(minutes=1))
    world.ahead = timedelta(minutes=2)
    world.sweep.run()
    assert world.statuses(batch) == ["expired"] * 120
    with reading(world.engine) as conn:
        expired = batches.find(conn, str(batch.id))
    assert expired.state is BatchState.EXPIRED
    assert expired.finished_at is not None


def test_a_job_given_back_after_its_batch_was_cancelled_is_cancelled(world):
    batch, (job,) = world.submit(1, sent=True)
    claimed = world.claim(job)
    with transaction(world.engine) as conn:
        batches.end_early(conn, batch.id, BatchState.CANCELLED)
    with transaction(world.engine) as conn:
        jobs.give_back(conn, claimed)
    world.sweep.run()
    assert world.statuses(batch) == ["cancelled"]


def test_without_redis_expired_leases_are_taken_back_nevertheless(world):
    _, (job,) = world.submit(1, sent=True)
    world.claim(job)
    world.ahead = timedelta(seconds=60)

    def unavailable(_lane):
        raise BrokerUnavailable("url", "gone")

    world.queue.waiting = unavailable
    with pytest.raises(BrokerUnavailable):
        world.sweep.run()
    assert world.states() == ["queued"]


def test_no_message_is_sent_to_a_redis_of_another_stack(world):
    def refuse():
        raise BrokerInUse("redis://there")

    world.submit(3, sent=False)
    with pytest.raises(BrokerInUse):
        replace(world.sweep, claim_broker=refuse).run()
    assert not world.queue.waiting(Lane.BULK)
    world.sweep.run()
    assert world.queue.waiting(Lane.BULK) == 3
