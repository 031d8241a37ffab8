"""Jobs of a cancelled or expired batch are closed, and jobs of a done batch are retried."""

from __future__ import annotations

import pytest

from core.domain.batch import BatchState, Lane
from core.domain.job import JobState
from core.domain.result import Status
from db.queries import batches, jobs, retries
from db.session import transaction
from tests.factories import (
    NOW,
    all_results,
    fail,
    finish,
    job_rows,
    later,
    queued_ids,
    result,
    running_job,
    stored_batch,
)


def _to_send(engine, lane=Lane.BULK, *, limit=100, lost_before=None, now=NOW):
    with transaction(engine) as conn:
        messages = jobs.to_send(conn, lane, limit=limit, lost_before=lost_before, now=now)
    return [message.job for message in messages]


def _stopped(engine, batch, state):
    with transaction(engine) as conn:
        batches.end_early(conn, batch.id, state)
        return batches.find(conn, str(batch.id))


def _retry(engine, batch, *statuses, limit=100, **values):
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)
        batches.reopen(conn, batch.id)
        return retries.retry(conn, batch, statuses, limit=limit, **{"now": later(100), **values})


@pytest.mark.parametrize(
    ("state", "status"),
    [(BatchState.CANCELLED, Status.CANCELLED), (BatchState.EXPIRED, Status.EXPIRED)],
)
def test_each_unanswered_question_of_a_stopped_batch_gets_one_result(engine, state, status):
    batch = stored_batch(engine, 10, job_size=2)
    finish(engine, running_job(engine, batch))
    live = running_job(engine, batch)
    batch = _stopped(engine, batch, state)
    closed = []
    while not closed or closed[-1]:
        with transaction(engine) as conn:
            closed.append(jobs.close_queued(conn, batch, status, limit=2, now=later(5)))
    assert closed == [2, 1, 0]
    finish(engine, live)
    by_position = {row.position: row.status for row in all_results(engine, batch)}
    assert [by_position[p] for p in range(1, 11)] == ["answered"] * 4 + [status.value] * 6
    ended = [row for row in job_rows(engine, batch) if row.state == state.value]
    assert [getattr(row, status.value) for row in ended] == [2, 2, 2]
    assert {row.finished_at for row in ended} == {later(5)}
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
        progress = batches.progress(conn, batch.id, NOW)
    assert (progress.queued, progress.running, progress.final) == (0, 0, 10)


def test_closing_keeps_the_results_that_a_retry_kept(engine):
    batch = stored_batch(engine, 3, job_size=3)
    finish(
        engine,
        running_job(engine, batch),
        [result(1), result(2, Status.FAILED), result(3, Status.HANDED_OFF)],
    )
    _retry(engine, batch, Status.FAILED)
    batch = _stopped(engine, batch, BatchState.CANCELLED)
    with transaction(engine) as conn:
        jobs.close_queued(conn, batch, Status.CANCELLED, limit=9, now=NOW)
    assert {row.position: row.status for row in all_results(engine, batch)} == {
        1: "answered",
        2: "cancelled",
        3: "handed_off",
    }
    (row,) = job_rows(engine, batch)
    assert (row.answered, row.failed, row.handed_off, row.cancelled) == (1, 0, 1, 1)


def test_retry_queues_only_the_requested_statuses(engine):
    batch = stored_batch(engine, 6, job_size=2)
    finish(engine, running_job(engine, batch))
    second = running_job(engine, batch)
    finish(engine, second, [result(3), result(4, Status.FAILED)])
    third = running_job(engine, batch)
    finish(engine, third, [result(5, Status.HANDED_OFF), result(6)])
    assert _retry(engine, batch, Status.FAILED) == 1
    assert queued_ids(engine, batch) == [second.id]
    assert [row.position for row in all_results(engine, batch)] == [1, 2, 3, 5, 6]
    assert _to_send(engine) == [second.id]
    finish(engine, running_job(engine, batch), [result(4)])
    row = job_rows(engine, batch)[1]
    assert (row.answered, row.failed, row.attempt, row.failures) == (2, 0, 2, 0)
    assert sorted(row.position for row in all_results(engine, batch)) == [1, 2, 3, 4, 5, 6]


def test_retry_gives_a_dead_question_all_its_attempts_again(engine):
    batch = stored_batch(engine, 1)
    for _ in range(3):
        fail(engine, running_job(engine, batch))
    assert job_rows(engine, batch)[0].state == JobState.DEAD
    assert _retry(engine, batch, Status.FAILED) == 1
    assert all_results(engine, batch) == []
    (row,) = job_rows(engine, batch)
    assert (row.state, row.failures, row.failed, row.error) == (JobState.QUEUED, 0, 0, None)
    assert (row.finished_at, row.created_at) == (None, later(100))
    assert fail(engine, running_job(engine, batch)) is JobState.QUEUED


def test_a_worker_from_before_a_retry_writes_nothing(engine):
    batch = stored_batch(engine, 1)
    job = running_job(engine, batch)
    finish(engine, job, [result(1, Status.FAILED)])
    _retry(engine, batch, Status.FAILED)
    with pytest.raises(jobs.LeaseLost):
        finish(engine, job)
    running_job(engine, batch)
    with pytest.raises(jobs.LeaseLost):
        finish(engine, job)


def test_retry_of_several_statuses_goes_up_to_the_limit_of_jobs(engine):
    batch = stored_batch(engine, 3, job_size=1)
    for status in (Status.FAILED, Status.HANDED_OFF, Status.FAILED):
        job = running_job(engine, batch)
        finish(engine, job, [result(job.first_position, status)])
    both = (Status.FAILED, Status.HANDED_OFF)
    assert [_retry(engine, batch, *both, limit=2) for _ in range(3)] == [2, 1, 0]


def test_retry_passes_over_jobs_that_it_queued_itself(engine):
    batch = stored_batch(engine, 2, job_size=1)
    for _ in range(2):
        job = running_job(engine, batch)
        finish(engine, job, [result(job.first_position, Status.FAILED)])
    begun = later(50)
    assert _retry(engine, batch, Status.FAILED, limit=1, now=begun, since=begun) == 1
    finish(engine, running_job(engine, batch), [result(1, Status.FAILED)])
    assert _retry(engine, batch, Status.FAILED, now=begun, since=begun) == 1
    assert [row.failed for row in job_rows(engine, batch)] == [1, 0]
