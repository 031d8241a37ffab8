"""The life of a claimed job: claim, renew, finish, give back."""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import pairwise

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane
from core.domain.job import JOB_TRANSITIONS, JobState
from core.domain.result import Status
from core.errors import LeaseLost
from db.queries import batches, claims, job_failures, jobs, retries
from db.session import transaction
from tests.factories import (
    LEASE,
    NOW,
    all_results,
    claimed,
    fail,
    finish,
    job_rows,
    later,
    queued_ids,
    result,
    results_of,
    running_job,
    stored_batch,
)


def _row(engine, batch):
    (row,) = job_rows(engine, batch)
    return row


def _stop(engine, batch, state=BatchState.CANCELLED):
    with transaction(engine) as conn:
        batches.end_early(conn, batch.id, state)


def _claim_at_once(engine, job_id, count):
    barrier, claimed_jobs = threading.Barrier(count), []

    def claim(number):
        barrier.wait()
        if job := claimed(engine, job_id, owner=f"worker-{number}"):
            claimed_jobs.append(job)

    threads = [
        threading.Thread(target=claim, args=(thread_number,)) for thread_number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return claimed_jobs


def test_a_claim_takes_the_job_for_a_lease(engine):
    batch = stored_batch(engine, 2, lane=Lane.INTERACTIVE)
    job = claimed(engine, queued_ids(engine, batch)[0], owner="worker-7")
    assert (job.first_position, job.last_position, job.size) == (1, 2, 2)
    assert (job.batch_id, job.lane, job.attempt, job.failures) == (
        batch.id,
        Lane.INTERACTIVE,
        1,
        0,
    )
    row = _row(engine, batch)
    assert (row.state, row.owner, row.lease_until) == (
        JobState.RUNNING,
        "worker-7",
        NOW + LEASE,
    )


def test_only_one_of_many_claims_at_once_gets_the_job(engine):
    batch = stored_batch(engine, 10, job_size=1)
    for job_id in queued_ids(engine, batch):
        assert len(_claim_at_once(engine, job_id, 6)) == 1
    assert {row.attempt for row in job_rows(engine, batch)} == {1}


def test_a_job_is_not_claimed_twice(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    assert claimed(engine, job.id) is None
    finish(engine, job)
    assert claimed(engine, job.id) is None


def test_a_job_that_is_none_is_not_claimed(engine):
    assert claimed(engine, 12345) is None


@pytest.mark.parametrize("state", [BatchState.CANCELLED, BatchState.EXPIRED])
def test_nothing_of_a_stopped_batch_is_claimed(engine, state):
    batch = stored_batch(engine, 1)
    _stop(engine, batch, state)
    assert claimed(engine, queued_ids(engine, batch)[0]) is None


def test_nothing_is_claimed_at_or_after_the_deadline(engine):
    batch = stored_batch(engine, 2, job_size=1, deadline=later(60))
    first, second = queued_ids(engine, batch)
    assert claimed(engine, second, now=later(60)) is None
    assert claimed(engine, second, now=later(61)) is None
    job = claimed(engine, first, now=later(59.9))
    assert job.deadline == later(60)


def test_a_batch_that_is_still_being_submitted_is_answered_already(engine):
    batch = stored_batch(engine, 1)
    with transaction(engine) as conn:
        conn.execute(sa.update(batches.b).values(state=BatchState.OPEN))
    assert claimed(engine, queued_ids(engine, batch)[0]) is not None


def test_a_renewed_lease_ends_later(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    with transaction(engine) as conn:
        jobs.renew(conn, job, lease=LEASE, now=later(20))
    row = _row(engine, batch)
    assert (row.lease_until, row.attempt) == (later(20) + LEASE, 1)


def test_finish_stores_the_results_and_counts_them(engine):
    batch = stored_batch(engine, 3, job_size=3)
    job = running_job(engine, batch)
    answers = [result(1), result(2, Status.HANDED_OFF), result(3, Status.HANDED_OFF)]
    finish(engine, job, answers, now=later(7))
    row = _row(engine, batch)
    assert (row.state, row.owner, row.lease_until) == (JobState.DONE, None, None)
    assert (row.answered, row.handed_off, row.failed) == (1, 2, 0)
    assert row.finished_at == later(7)
    rows = all_results(engine, batch)
    assert [(r.position, r.key, r.status) for r in rows] == [
        (1, "ticket-1", "answered"),
        (2, "ticket-2", "handed_off"),
        (3, "ticket-3", "handed_off"),
    ]


def test_a_given_back_job_is_queued_without_a_failure(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    with transaction(engine) as conn:
        jobs.give_back(conn, job)
    row = _row(engine, batch)
    assert (row.state, row.owner, row.lease_until) == (JobState.QUEUED, None, None)
    assert (row.sent_at, row.failures) == (None, 0)
    assert claimed(engine, job.id).attempt == 2


def _lose_to_another_worker(engine, job):
    fail(engine, job)
    assert claimed(engine, job.id, owner="another").attempt == job.attempt + 1


def _lose_and_let_finish(engine, job):
    fail(engine, job)
    finish(engine, claimed(engine, job.id, owner="another"))


def _lose_to_the_queue(engine, job):
    fail(engine, job)


def _lose_to_a_split(engine, job):
    with transaction(engine) as conn:
        conn.execute(sa.update(batches.j).values(failures=1))
    fail(engine, jobs.Job(**{**_fields(job), "failures": 1}))


def _fields(job):
    return {name: getattr(job, name) for name in job.__slots__}


_WRITES = {
    "finish": lambda conn, job: jobs.finish(conn, job, results_of(job), now=NOW),
    "renew": lambda conn, job: jobs.renew(conn, job, lease=LEASE, now=NOW),
    "give_back": jobs.give_back,
    "fail": lambda conn, job: job_failures.fail(conn, job, error="late", attempts=3, now=NOW),
    "fail the last time": lambda conn, job: job_failures.fail(
        conn, jobs.Job(**{**_fields(job), "failures": 9}), error="late", attempts=3, now=NOW
    ),
}


@pytest.mark.parametrize(
    "lose",
    [_lose_to_another_worker, _lose_and_let_finish, _lose_to_the_queue, _lose_to_a_split],
    ids=["another worker", "another worker finished", "the queue", "a split"],
)
@pytest.mark.parametrize("write", _WRITES.values(), ids=_WRITES)
def test_a_worker_whose_lease_was_lost_writes_nothing(engine, lose, write):
    batch = stored_batch(engine, 2)
    job = running_job(engine, batch)
    lose(engine, job)
    before = job_rows(engine, batch), all_results(engine, batch)
    with pytest.raises(LeaseLost) as caught, transaction(engine) as conn:
        write(conn, job)
    assert (caught.value.job, caught.value.attempt) == (job.id, job.attempt)
    assert (job_rows(engine, batch), all_results(engine, batch)) == before


def test_finishing_twice_writes_once(engine):
    batch = stored_batch(engine, 2)
    job = running_job(engine, batch)
    finish(engine, job)
    with pytest.raises(LeaseLost):
        finish(engine, job)
    assert len(all_results(engine, batch)) == 2
    assert _row(engine, batch).answered == 2


def test_the_fence_holds_also_when_the_error_is_not_caught(engine):
    """Nothing may be written before the job's row confirms the claimed attempt."""
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    fail(engine, job)
    with transaction(engine) as conn, suppress(LeaseLost):
        jobs.finish(conn, job, results_of(job), now=NOW)
    assert all_results(engine, batch) == []


def test_a_job_that_runs_when_its_batch_is_cancelled_may_finish(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    _stop(engine, batch)
    finish(engine, job)
    assert len(all_results(engine, batch)) == 1


def test_only_listed_moves_happen(engine):
    """Every observed state of a job follows from the previous one by a listed transition."""
    batch = stored_batch(engine, 2)
    seen = [JobState(_row(engine, batch).state)]

    def note():
        seen.append(JobState(job_rows(engine, batch)[0].state))

    for step in ("claim", "give back", "claim", "finish", "retry", "claim", "fail"):
        with transaction(engine) as conn:
            if step == "claim":
                job = claims.claim_job(
                    conn, queued_ids(engine, batch)[0], owner="w", lease=LEASE, now=NOW
                )
            elif step == "give back":
                jobs.give_back(conn, job)
            elif step == "finish":
                jobs.finish(conn, job, results_of(job, Status.FAILED), now=NOW)
            elif step == "retry":
                retries.retry(conn, batch, [Status.FAILED], limit=1, now=NOW)
            else:
                job_failures.fail(conn, job, error="boom", attempts=3, now=NOW)
        note()
    assert len(seen) == 8
    for before, after in pairwise(seen):
        assert after in JOB_TRANSITIONS[before], (before, after)
