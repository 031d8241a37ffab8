"""Renewing the lease of the job in work."""

from __future__ import annotations

import threading
from datetime import timedelta

from core.domain.batch import Lane, Question
from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import batches, claims, jobs, questions
from db.session import transaction
from worker.recovery import leases
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=0.6)


def claimed(engine, clock, count):
    with transaction(engine) as conn:
        now = clock()
        batch = batches.create(
            conn, name="b", idempotency_key="k", lane=Lane.BULK, source="test", now=now
        )
        asked = [Question(n, str(n), "a") for n in range(1, count + 1)]
        sent = questions.append(conn, batch, asked, job_size=1, sent=True, now=now)
        return [
            claims.claim_job(conn, message.job, owner="o", lease=LEASE, now=now) for message in sent
        ]


def test_leases_that_are_held_outlive_their_length_many_times(engine):
    clock = DatabaseClock(engine)
    held = claimed(engine, clock, 3)
    keeper = LeaseRenewer(engine, clock, LEASE)
    keeper.start()
    keeper.add(held)
    for _ in range(20):
        threading.Event().wait(LEASE.total_seconds() / 4)
        with transaction(engine) as conn:
            assert jobs.expired_leases(conn, clock(), 10) == []
    keeper.remove(held)
    threading.Event().wait(3 * LEASE.total_seconds())
    with transaction(engine) as conn:
        assert set(jobs.expired_leases(conn, clock(), 10)) == set(held)
    keeper.stop()


def test_a_renewal_that_fails_is_tried_again(engine, monkeypatch):
    clock = DatabaseClock(engine)
    (job,) = claimed(engine, clock, 1)
    renewed, failures = threading.Event(), []
    real = leases.jobs.renew

    def flaky(*args, **kwargs):
        if len(failures) < 2:
            failures.append(1)
            raise DatabaseUnavailable("url", "gone")
        real(*args, **kwargs)
        renewed.set()

    monkeypatch.setattr(leases.jobs, "renew", flaky)
    keeper = LeaseRenewer(engine, clock, LEASE)
    keeper.start()
    keeper.add([job])
    assert renewed.wait(10)
    keeper.stop()
