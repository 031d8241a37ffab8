from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta, timezone

import pytest
import sqlalchemy as sa

from core.domain.result import RunnerUp, Status
from core.settings.settings import Settings
from db.engine import open_engine
from db.queries import results
from db.session import reading, transaction
from tests.factories import (
    NOW,
    all_results,
    answer,
    finish,
    question,
    result,
    running_job,
    stored_batch,
)


def test_a_result_comes_back_whole_and_with_its_question(engine):
    batch = stored_batch(engine, [question(1, "您是机器人吗？", key="T-1")])
    given = result(
        1,
        key="T-1",
        answer=answer(
            answer="A\tline\nand \\ 'more'", entry_id="bot", matched="机器人?", confidence=0.8125
        ),
    )
    finish(engine, running_job(engine, batch), [given])
    (row,) = all_results(engine, batch)
    assert (row.batch_id, row.position, row.key, row.question) == (
        batch.id,
        1,
        "T-1",
        "您是机器人吗？",
    )
    a = given.answer
    assert (row.status, row.answer, row.entry_id, row.matched, row.confidence) == (
        "answered",
        a.answer,
        a.entry_id,
        a.matched,
        a.confidence,
    )
    assert (row.reason, row.error, row.model_version, row.answered_at) == (
        None,
        None,
        "shop@1",
        NOW,
    )


def test_a_source_and_runners_up_come_back_as_they_were_given(engine):
    batch = stored_batch(engine, 3, job_size=3)
    others = (RunnerUp("refund", "您的\\N退款?", 0.25), RunnerUp("track", "", 0.125))
    given = [
        result(1, answer=answer(url="https://shop/p", runners_up=others)),
        result(2, answer=answer(runners_up=())),
        result(3),
    ]
    finish(engine, running_job(engine, batch), given)
    rows = all_results(engine, batch)
    assert [row.url for row in rows] == ["https://shop/p", None, None]
    assert [row.runners_up for row in rows] == [[asdict(other) for other in others], [], None]
    with reading(engine) as conn:
        (nulls,) = conn.execute(sa.text("SELECT count(*) FROM results WHERE runners_up IS NULL"))
    assert nulls == (1,)


def test_a_time_of_another_zone_is_stored_as_the_same_moment(engine):
    batch = stored_batch(engine, 1)
    local_time = NOW.astimezone(timezone(timedelta(hours=8)))
    finish(engine, running_job(engine, batch), [result(1, answered_at=local_time)])
    assert all_results(engine, batch)[0].answered_at == NOW


def test_a_naive_time_is_refused(engine):
    with pytest.raises(Exception, match="naive"):
        stored_batch(engine, 1, now=NOW.replace(tzinfo=None))


def test_a_question_has_one_result_whatever_the_code_does(engine):
    batch = stored_batch(engine, 1)
    with transaction(engine) as conn:
        results.insert(conn, [(batch.id, result(1))])
    with pytest.raises(sa.exc.IntegrityError), transaction(engine) as conn:
        results.insert(conn, [(batch.id, result(1, Status.FAILED))])
    assert [row.status for row in all_results(engine, batch)] == ["answered"]


def test_a_page_can_be_of_one_status_and_is_of_one_batch(engine):
    batch = stored_batch(engine, 3, job_size=3)
    other = stored_batch(engine, 1, name="other")
    answers = [result(1), result(2, Status.FAILED), result(3)]
    finish(engine, running_job(engine, batch), answers)
    finish(engine, running_job(engine, other))
    with reading(engine) as conn:
        failed = results.page(conn, batch.id, status=Status.FAILED)
        assert [row.position for row in failed] == [2]
        assert len(results.page(conn, batch.id)) == 3


def test_one_result_is_read_as_soon_as_it_is_committed(engine):
    batch = stored_batch(engine, 2)
    finish(engine, running_job(engine, batch))
    with reading(engine) as conn:
        assert results.of_question(conn, batch.id, 2).key == "ticket-2"
        assert results.of_question(conn, batch.id, 3) is None


def test_only_questions_without_a_result_are_unanswered(engine):
    batch = stored_batch(engine, 4, job_size=4)
    with transaction(engine) as conn:
        results.insert(conn, [(batch.id, result(2))])
        assert results.unanswered(conn, batch.id, 1, 3) == [
            (1, "ticket-1", "Where is my parcel?"),
            (3, "ticket-3", "Where is my parcel?"),
        ]
        ended = results.end_unanswered(conn, batch.id, 1, 3, answer=answer(Status.FAILED), now=NOW)
        assert ended == 2
        assert results.end_unanswered(conn, batch.id, 1, 3, answer=answer(), now=NOW) == 0
    assert {row.position: row.status for row in all_results(engine, batch)} == {
        1: "failed",
        2: "answered",
        3: "failed",
    }


_ASKED_MANY = """
    INSERT INTO questions (batch_id, position, key, text)
    SELECT :batch, n, 'k' || n, 'Where?' FROM generate_series(1, :last) AS n
"""
_ANSWERED_MANY = """
    INSERT INTO result_rows (batch_id, position, key, cursor, status, answered_at)
    SELECT :batch, n, 'k' || n, n, 'answered', now() FROM generate_series(1, :answered) AS n
"""
_READ_BY_CURSOR = """
    SELECT pg_stat_get_xact_tuples_returned('ix_result_rows_batch_id_cursor'::regclass)
"""


@pytest.fixture
def newer_than_statistics(postgres_url):
    """Return a connection to a database without statistics of batch 4, which is half answered."""
    engine = open_engine(Settings(database_url=postgres_url, broker_url="redis://unused"))
    with engine.connect() as conn:
        conn.execute(sa.text("SET session_replication_role = replica"))  # no batches, no keys
        for batch in (1, 2, 3, 4):
            if batch == 4:
                conn.execute(sa.text("ANALYZE questions, result_rows"))
            values = {"batch": batch, "last": 10_000, "answered": 5_000 if batch == 4 else 10_000}
            conn.execute(sa.text(_ASKED_MANY), values)
            conn.execute(sa.text(_ANSWERED_MANY), values)
        yield conn
    engine.dispose()


def test_a_range_of_a_new_batch_is_read_alone(newer_than_statistics):
    conn = newer_than_statistics
    assert len(results.unanswered(conn, 4, 4_937, 5_064)) == 64
    assert results.counts(conn, 4, 4_937, 5_064)["answered"] == 64
    assert conn.scalar(sa.text(_READ_BY_CURSOR)) == 0
