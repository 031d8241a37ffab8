"""Renewal of the leases of running jobs."""

from __future__ import annotations

import threading
from datetime import timedelta

from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import claims, jobs
from db.session import transaction
from tests.factories import queued_ids, stored_batch
from worker.recovery import leases
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=0.6)


def claimed(engine, clock, count):
    now = clock()
    batch = stored_batch(engine, count, job_size=1, now=now)
    with transaction(engine) as conn:
        return [
            claims.claim_job(conn, job, owner="o", lease=LEASE, now=now)
            for job in queued_ids(engine, batch)
        ]


def test_renewed_leases_last_much_longer_than_one_lease(engine):
    clock = DatabaseClock(engine)
    running = claimed(engine, clock, 3)
    renewer = LeaseRenewer(engine, clock, LEASE)
    renewer.start()
    renewer.add(running)
    for _ in range(20):
        threading.Event().wait(LEASE.total_seconds() / 4)
        with transaction(engine) as conn:
            assert jobs.expired_leases(conn, clock(), 10) == []
    renewer.remove(running)
    threading.Event().wait(3 * LEASE.total_seconds())
    with transaction(engine) as conn:
        assert set(jobs.expired_leases(conn, clock(), 10)) == set(running)
    renewer.stop()


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
    renewer = LeaseRenewer(engine, clock, LEASE)
    renewer.start()
    renewer.add([job])
    assert renewed.wait(10)
    renewer.stop()
