from __future__ import annotations

import pytest

from core.domain.batch import BatchState
from core.domain.result import Status
from core.errors import BatchClosed, BatchUnknown
from db.queries import batches
from db.session import transaction
from producer.batches import cancel as module
from producer.batches.cancel import cancel
from tests.factories import (
    NOW,
    all_results,
    claimed,
    finish,
    job_rows,
    open_batch,
    queued_ids,
    running_job,
    stored_batch,
)


def _statuses(engine, batch):
    return {row.position: row.status for row in all_results(engine, batch)}


def test_what_has_not_started_never_will_and_what_is_final_stays(engine):
    batch = stored_batch(engine, 6, job_size=2)
    finish(engine, running_job(engine, batch))
    done = cancel(engine, "tickets")
    assert done.batch.state is BatchState.CANCELLED
    assert done.batch.finished_at is not None
    assert (done.progress.final, done.progress.by_status[Status.CANCELLED]) == (6, 4)
    expected = {n: "answered" if n <= 2 else "cancelled" for n in range(1, 7)}
    assert _statuses(engine, batch) == expected
    assert [row.state for row in job_rows(engine, batch)] == ["done", "cancelled", "cancelled"]


def test_running_jobs_may_finish(engine):
    batch = stored_batch(engine, 4, job_size=2)
    job = running_job(engine, batch)
    done = cancel(engine, str(batch.id))
    assert (done.progress.running, done.batch.finished_at) == (2, None)
    finish(engine, job)
    assert set(_statuses(engine, batch).values()) == {"answered", "cancelled"}


def test_after_a_cancellation_no_job_can_be_claimed(engine):
    batch = stored_batch(engine, 4, job_size=2)
    ids = queued_ids(engine, batch)
    cancel(engine, str(batch.id))
    assert [claimed(engine, job_id) for job_id in ids] == [None, None]


def test_a_batch_that_is_being_submitted_can_be_cancelled(engine):
    batch = open_batch(engine)
    assert cancel(engine, str(batch.id)).batch.state is BatchState.CANCELLED


def test_an_interrupted_cancellation_is_continued(engine, monkeypatch):
    batch = stored_batch(engine, 6, job_size=2)
    monkeypatch.setattr(module, "_JOBS", 1)
    close_queued = module._close_queued

    def interrupted(*words):
        close_queued(*words)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_close_queued", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cancel(engine, str(batch.id))
    assert len(_statuses(engine, batch)) == 2
    monkeypatch.setattr(module, "_close_queued", close_queued)
    assert cancel(engine, str(batch.id)).progress.by_status[Status.CANCELLED] == 6


def test_a_finished_batch_is_not_cancelled(engine):
    batch = stored_batch(engine, 2, job_size=2)
    finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)
    with pytest.raises(BatchClosed, match="is done: it cannot be cancelled"):
        cancel(engine, str(batch.id))
    other = stored_batch(engine, 2, name="other")
    cancel(engine, "other")
    with pytest.raises(BatchClosed, match=f"batch {other.id} is cancelled"):
        cancel(engine, "other")


def test_an_unknown_batch_is_an_error(engine):
    with pytest.raises(BatchUnknown):
        cancel(engine, "999")
