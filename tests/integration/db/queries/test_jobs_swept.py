"""The queries of the sweep: expired leases, and jobs without a message."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.batch import Lane
from db.queries import jobs
from db.session import reading, transaction
from db.tables import jobs as j
from tests.factories import (
    LEASE,
    NOW,
    claimed,
    fail,
    finish,
    job_rows,
    later,
    queued_ids,
    running_job,
    stored_batch,
)


def _expired(engine, now, limit=10):
    with transaction(engine) as conn:
        return [job.id for job in jobs.expired_leases(conn, now, limit)]


def _to_send(engine, lane=Lane.BULK, *, limit=100, lost_before=None, now=NOW):
    with transaction(engine) as conn:
        expired = jobs.to_send(conn, lane, limit=limit, lost_before=lost_before, now=now)
    return [message.job for message in expired]


def test_a_lease_expires_after_its_end_and_not_before(engine):
    batch = stored_batch(engine, 3, job_size=1)
    first, second, _ = queued_ids(engine, batch)
    claimed(engine, first, now=NOW)
    claimed(engine, second, now=later(-10))
    assert _expired(engine, later(19)) == []
    assert _expired(engine, NOW + LEASE) == [second]
    assert _expired(engine, later(31)) == [second, first]
    assert _expired(engine, later(31), limit=1) == [second]


def test_a_renewed_lease_is_not_expired(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    with transaction(engine) as conn:
        jobs.renew(conn, job, lease=LEASE, now=later(25))
    assert _expired(engine, later(54)) == []
    assert _expired(engine, later(56)) == [job.id]


def test_an_expired_job_comes_as_its_dead_worker_held_it(engine):
    batch = stored_batch(engine, 2)
    running = running_job(engine, batch)
    with transaction(engine) as conn:
        (expired,) = jobs.expired_leases(conn, later(31), 1)
    assert expired == running


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_two_sweeps_at_once_do_not_take_back_the_same_job(engine):
    """SQLite has one writer at a time."""
    batch = stored_batch(engine, 2, job_size=1)
    first, second = (claimed(engine, job_id) for job_id in queued_ids(engine, batch))
    with transaction(engine) as first_conn, transaction(engine) as other:
        (locked,) = jobs.expired_leases(first_conn, later(31), 1)
        assert locked == first
        assert jobs.expired_leases(other, later(31), 10) == [second]


def test_jobs_that_were_never_sent_are_sent_oldest_first_up_to_the_limit(engine):
    batch = stored_batch(engine, 5, job_size=1, sent=False)
    ids = queued_ids(engine, batch)
    assert _to_send(engine, limit=2, now=later(1)) == ids[:2]
    assert _to_send(engine, limit=2) == ids[2:4]
    assert _to_send(engine) == ids[4:]
    assert _to_send(engine) == []
    assert job_rows(engine, batch)[0].sent_at == later(1)


def test_only_the_requested_lane_is_sent(engine):
    bulk = stored_batch(engine, 1, sent=False, name="bulk")
    quick = stored_batch(engine, 1, sent=False, name="quick", lane=Lane.INTERACTIVE)
    assert _to_send(engine, Lane.INTERACTIVE) == queued_ids(engine, quick)
    assert _to_send(engine, Lane.BULK) == queued_ids(engine, bulk)


def test_what_was_sent_is_sent_again_only_when_its_message_is_lost(engine):
    batch = stored_batch(engine, 2, job_size=1, sent=True)
    ids = queued_ids(engine, batch)
    assert _to_send(engine) == []
    assert _to_send(engine, lost_before=NOW) == []
    assert _to_send(engine, lost_before=later(5), now=later(9)) == ids
    assert _to_send(engine, lost_before=later(5), now=later(9)) == []


def test_a_message_describes_the_job(engine):
    batch = stored_batch(engine, 3, job_size=3, sent=False)
    with transaction(engine) as conn:
        (message,) = jobs.to_send(conn, Lane.BULK, limit=1, lost_before=None, now=NOW)
    assert (message.batch, message.size, message.lane) == (batch.id, 3, Lane.BULK)


def test_running_and_ended_jobs_are_not_sent(engine):
    batch = stored_batch(engine, 2, job_size=1, sent=False)
    running_job(engine, batch)
    finish(engine, running_job(engine, batch))
    assert _to_send(engine, lost_before=later(1000)) == []


def test_a_job_that_failed_or_was_given_back_is_sent_again(engine):
    batch = stored_batch(engine, 2, job_size=1, sent=True)
    failed, given_back = running_job(engine, batch), running_job(engine, batch)
    fail(engine, failed)
    with transaction(engine) as conn:
        jobs.give_back(conn, given_back)
    assert _to_send(engine) == [failed.id, given_back.id]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_sweeping_asks_the_indexes_and_not_every_job(engine):
    """A batch of 100 million questions has a million jobs, and a sweep runs every few seconds."""
    partial = {
        "ix_jobs_running": sa.select(j.c.id).where(j.c.state == "running", j.c.lease_until < NOW),
        "ix_jobs_queued": sa.select(j.c.id)
        .where(j.c.lane == "bulk", j.c.state == "queued")
        .order_by(j.c.id)
        .limit(10),
    }
    with reading(engine) as conn:
        conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for index, query in partial.items():
            text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
            plan = "\n".join(conn.scalars(sa.text(f"EXPLAIN {text}")))
            assert index in plan
