from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane
from core.domain.result import Status
from core.errors import BatchUnknown
from db.queries import batches, jobs
from db.queries.questions import append
from db.session import reading, transaction
from tests.factories import (
    NOW,
    finish,
    later,
    open_batch,
    questions,
    running_job,
    stored_batch,
)


def _append(engine, batch, new_questions, **values):
    with transaction(engine) as conn:
        filled = {"job_size": 2, "sent": True, "now": NOW, **values}
        return append(conn, batch, new_questions, **filled)


def _found(engine, batch):
    with reading(engine) as conn:
        return batches.find(conn, str(batch.id))


def test_a_batch_is_found_by_its_id_and_by_its_name(engine):
    batch = open_batch(engine, "july", deadline=later(60), model="shop@1", lane=Lane.INTERACTIVE)
    with reading(engine) as conn:
        assert batches.find(conn, str(batch.id)) == batch
        assert batches.find(conn, "july") == batch
        assert batches.named(conn, "july") == batch
        assert batches.named(conn, "june") is None
    assert batch.deadline == later(60)
    assert (batch.lane, batch.state, batch.model) == (Lane.INTERACTIVE, BatchState.OPEN, "shop@1")


@pytest.mark.parametrize("ref", ["999", "no such name", "", "9" * 40, "-1", "1.5"])
def test_an_unknown_batch_is_an_error_and_not_pending(engine, ref):
    open_batch(engine)
    with reading(engine) as conn, pytest.raises(BatchUnknown) as caught:
        batches.find(conn, ref)
    assert repr(ref) in str(caught.value)


def test_a_name_is_given_once(engine):
    open_batch(engine, "july")
    with pytest.raises(sa.exc.IntegrityError):
        open_batch(engine, "july")


def test_the_newest_batches_come_first(engine):
    for name in ("a", "b", "c"):
        open_batch(engine, name)
    with reading(engine) as conn:
        assert [batch.name for batch in batches.newest(conn, 2)] == ["c", "b"]


def test_a_batch_is_done_when_sealed_and_its_last_job_ends(engine):
    batch = stored_batch(engine, 4, job_size=2)
    assert (batch.state, batch.finished_at) == (BatchState.SEALED, None)
    for expected in (0, 1):
        finish(engine, running_job(engine, batch))
        with transaction(engine) as conn:
            assert batches.close_finished(conn, later(9), batch.id) == expected
    done = _found(engine, batch)
    assert (done.state, done.finished_at) == (BatchState.DONE, later(9))


def test_a_batch_whose_jobs_ended_before_the_seal_is_done_with_it(engine):
    batch = open_batch(engine)
    _append(engine, batch, questions(2))
    finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        assert batches.close_finished(conn, NOW, batch.id) == 0
    assert _found(engine, batch).state is BatchState.OPEN
    with transaction(engine) as conn:
        batches.seal(conn, batch, later(1))
    assert _found(engine, batch).state is BatchState.DONE


def test_a_batch_of_no_questions_is_done_when_sealed(engine):
    batch = open_batch(engine)
    with transaction(engine) as conn:
        batches.seal(conn, batch, NOW)
    assert _found(engine, batch).state is BatchState.DONE


def test_every_finished_batch_is_closed_when_none_is_named(engine):
    first, second, live = (stored_batch(engine, 1, name=name) for name in ("a", "b", "c"))
    for batch in (first, second):
        finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        assert batches.close_finished(conn, NOW) == 2
        assert batches.close_finished(conn, NOW) == 0
    assert _found(engine, live).state is BatchState.SEALED


def test_a_cancelled_batch_stays_cancelled_when_its_last_job_ends(engine):
    batch = stored_batch(engine, 2)
    job = running_job(engine, batch)
    with transaction(engine) as conn:
        assert batches.end_early(conn, batch.id, BatchState.CANCELLED)
        assert not batches.end_early(conn, batch.id, BatchState.CANCELLED)
    finish(engine, job)
    with transaction(engine) as conn:
        batches.close_finished(conn, later(5), batch.id)
    ended = _found(engine, batch)
    assert (ended.state, ended.finished_at) == (BatchState.CANCELLED, later(5))
    with transaction(engine) as conn:
        batches.seal(conn, batch, NOW)
        batches.reopen(conn, batch.id)
    assert _found(engine, batch) == ended


def test_a_done_batch_can_be_opened_again_but_not_stopped(engine):
    batch = stored_batch(engine, 1)
    finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
        assert not batches.end_early(conn, batch.id, BatchState.CANCELLED)
        batches.reopen(conn, batch.id)
    again = _found(engine, batch)
    assert (again.state, again.finished_at) == (BatchState.SEALED, None)


def test_only_live_batches_after_their_deadline_are_overdue(engine):
    stored_batch(engine, 1, name="no deadline")
    stored_batch(engine, 1, name="later", deadline=later(60.001))
    stored_batch(engine, 1, name="overdue", deadline=later(60))
    stopped = stored_batch(engine, 1, name="stopped", deadline=later(1))
    done = stored_batch(engine, 1, name="done", deadline=later(10))
    finish(engine, running_job(engine, done))
    with transaction(engine) as conn:
        batches.end_early(conn, stopped.id, BatchState.CANCELLED)
        batches.close_finished(conn, NOW)
        assert [batch.name for batch in batches.overdue(conn, later(60))] == ["overdue"]


def test_stopped_batches_with_queued_jobs_are_found_until_these_are_closed(engine):
    batch = stored_batch(engine, 2, job_size=1)
    with transaction(engine) as conn:
        assert batches.stopped_with_queued_jobs(conn) == []
        batches.end_early(conn, batch.id, BatchState.EXPIRED)
        (expired,) = batches.stopped_with_queued_jobs(conn)
        assert (expired.id, expired.state) == (batch.id, BatchState.EXPIRED)
        jobs.close_queued(conn, expired, Status.EXPIRED, limit=9, now=NOW)
        assert batches.stopped_with_queued_jobs(conn) == []
