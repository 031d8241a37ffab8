"""A job whose attempts fail: queued again, split, given up."""

from __future__ import annotations

import pytest

from core.domain.job import JobState
from core.domain.result import Status
from db.queries import batches
from db.session import reading
from tests.factories import (
    NOW,
    all_results,
    claimed,
    fail,
    finish,
    job_rows,
    queued_ids,
    running_job,
    stored_batch,
)


def _row(engine, batch):
    (row,) = job_rows(engine, batch)
    return row


def test_the_first_failure_of_a_job_queues_it_again(engine):
    batch = stored_batch(engine, 4, job_size=4)
    job = running_job(engine, batch)
    assert fail(engine, job, "RuntimeError") is JobState.QUEUED
    row = _row(engine, batch)
    assert (row.state, row.failures, row.error) == (JobState.QUEUED, 1, "RuntimeError")
    assert (row.sent_at, row.owner, row.lease_until) == (None, None, None)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 128])
def test_the_halves_of_a_split_job_cover_it_exactly(engine, size):
    batch = stored_batch(engine, size, job_size=size)
    fail(engine, running_job(engine, batch))
    assert fail(engine, running_job(engine, batch), "boom") is JobState.SPLIT
    parent, *halves = job_rows(engine, batch)
    assert (parent.state, parent.error) == (JobState.SPLIT, "boom")
    assert len(halves) == 2
    covered = [p for h in halves for p in range(h.first_position, h.last_position + 1)]
    assert covered == list(range(1, size + 1))
    sizes = [h.last_position - h.first_position + 1 for h in halves]
    assert max(sizes) - min(sizes) <= 1
    for half in halves:
        assert (half.state, half.sent_at, half.lane) == (JobState.QUEUED, None, parent.lane)


def _halve_until_ended(engine, batch, poison):
    """Fail each job with the poison question, finish the others; return the number of claims."""
    for claims in range(1, 100):
        waiting = queued_ids(engine, batch)
        if not waiting:
            return claims - 1
        job = claimed(engine, waiting[0])
        if job.first_position <= poison <= job.last_position:
            fail(engine, job, "segmentation fault", attempts=3)
        else:
            finish(engine, job)
    raise AssertionError


@pytest.mark.parametrize("poison", [1, 4, 5, 8])
def test_halving_finds_the_poison_and_spares_its_neighbors(engine, poison):
    batch = stored_batch(engine, 8, job_size=8)
    _halve_until_ended(engine, batch, poison)
    rows = {row.position: row for row in all_results(engine, batch)}
    assert sorted(rows) == list(range(1, 9))
    assert {p for p, row in rows.items() if row.status == Status.FAILED} == {poison}
    assert rows[poison].error == "gave up after 3 failed attempts: segmentation fault"
    assert {row.state for row in job_rows(engine, batch)} == {
        JobState.DONE,
        JobState.SPLIT,
        JobState.DEAD,
    }
    with reading(engine) as conn:
        progress = batches.progress(conn, batch.id, NOW)
    assert (progress.queued, progress.running) == (0, 0)
    assert progress.by_status[Status.ANSWERED] == 7
    assert progress.by_status[Status.FAILED] == 1


def test_a_single_question_has_as_many_attempts_as_are_set(engine):
    batch = stored_batch(engine, 1)
    for _ in range(4):
        assert fail(engine, running_job(engine, batch), attempts=5) is JobState.QUEUED
    assert all_results(engine, batch) == []
    assert fail(engine, running_job(engine, batch), attempts=5) is JobState.DEAD
    (row,) = all_results(engine, batch)
    assert (row.status, row.key, row.model_version) == ("failed", "ticket-1", None)
    assert _row(engine, batch).failed == 1
