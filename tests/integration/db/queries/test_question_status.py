from __future__ import annotations

import sqlalchemy as sa

from core.domain.batch import BatchState
from core.domain.result import Status
from db.queries import batches, jobs, retries
from db.session import reading, transaction
from db.tables import question_status
from tests.factories import (
    NOW,
    fail,
    finish,
    job_rows,
    questions,
    result,
    running_job,
    stored_batch,
)


def _status(engine, batch):
    with reading(engine) as conn:
        rows = conn.execute(
            sa.select(question_status.c.position, question_status.c.status)
            .where(question_status.c.batch_id == batch.id)
            .order_by(question_status.c.position)
        )
        return {row.position: row.status for row in rows}


def test_status_tells_queued_running_and_final_apart_from_the_first_moment(engine):
    batch = stored_batch(engine, 6, job_size=2)
    assert _status(engine, batch) == dict.fromkeys(range(1, 7), "queued")
    first = running_job(engine, batch)
    running_job(engine, batch)
    finish(engine, first, [result(1), result(2, Status.HANDED_OFF)])
    assert _status(engine, batch) == {
        1: "answered",
        2: "handed_off",
        3: "running",
        4: "running",
        5: "queued",
        6: "queued",
    }


def test_an_unknown_question_has_no_status(engine):
    batch = stored_batch(engine, 1)
    assert 2 not in _status(engine, batch)
    batch_unknown = stored_batch(engine, questions(1), name="other")
    with reading(engine) as conn:
        query = sa.select(question_status).where(question_status.c.batch_id == batch_unknown.id + 1)
        assert conn.execute(query).all() == []


def test_status_shows_each_question_of_a_split_job_once(engine):
    batch = stored_batch(engine, 3, job_size=3)
    for _ in range(2):
        fail(engine, running_job(engine, batch))
    assert len(job_rows(engine, batch)) == 3
    running_job(engine, batch)
    assert _status(engine, batch) == {1: "running", 2: "queued", 3: "queued"}
    with reading(engine) as conn:
        assert len(conn.execute(sa.select(question_status)).all()) == 3


def test_status_of_a_cancelled_question_is_final(engine):
    batch = stored_batch(engine, 2)
    with transaction(engine) as conn:
        batches.end_early(conn, batch.id, BatchState.CANCELLED)
        jobs.close_queued(conn, batch, Status.CANCELLED, limit=1, now=NOW)
    assert _status(engine, batch) == {1: "cancelled", 2: "cancelled"}


def test_status_of_a_retried_question_is_queued_again(engine):
    batch = stored_batch(engine, 2)
    finish(engine, running_job(engine, batch), [result(1), result(2, Status.FAILED)])
    with transaction(engine) as conn:
        retries.retry(conn, batch, [Status.FAILED], limit=1, now=NOW)
    assert _status(engine, batch) == {1: "answered", 2: "queued"}
