from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.domain.batch import BatchState, Lane
from core.domain.job import JobState
from core.errors import BatchClosed
from db.queries import batches
from db.queries.questions import append
from db.session import reading, transaction
from db.tables import questions as q
from tests.factories import (
    NOW,
    job_rows,
    open_batch,
    question,
    questions,
    stored_batch,
)

# PostgreSQL stores no NUL in a text, and neither database stores half of a surrogate pair.
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


_awkward = [
    "Wo ist mein Päckchen? 您是机器人吗？ 🤖",
    "it's \"quoted\" and 'quoted'",
    "back\\slash \\N \\. \\x41 \\\\",
    "tab\there\nnew line\r\nreturn\rend",
    "",
    " ",
    "\\N",
    "\x01\x7f\u2028\ufeff",
    "'); DROP TABLE questions; --",
    "{curly} $1 %s %(name)s :name ?",
    "x" * 100_000,
]


def _append(engine, batch, new_questions, **values):
    with transaction(engine) as conn:
        filled = {"job_size": 2, "sent": True, "now": NOW, **values}
        return append(conn, batch, new_questions, **filled)


def _found(engine, batch):
    with reading(engine) as conn:
        return batches.find(conn, str(batch.id))


def _stored_questions(engine, batch):
    with reading(engine) as conn:
        return list(conn.execute(sa.select(q).where(q.c.batch_id == batch.id).order_by("position")))


def test_questions_are_cut_into_jobs_that_cover_each_once(engine):
    batch = open_batch(engine, lane=Lane.INTERACTIVE)
    messages = _append(engine, batch, questions(5), job_size=2)
    rows = job_rows(engine, batch)
    assert [(row.first_position, row.last_position) for row in rows] == [(1, 2), (3, 4), (5, 5)]
    assert {row.state for row in rows} == {JobState.QUEUED}
    assert [(m.job, m.batch, m.size, m.lane) for m in messages] == [
        (row.id, batch.id, size, Lane.INTERACTIVE)
        for row, size in zip(rows, (2, 2, 1), strict=True)
    ]
    assert _found(engine, batch).question_count == 5


@pytest.mark.parametrize("sent", [True, False])
def test_a_job_remembers_whether_its_message_is_about_to_be_sent(engine, sent):
    batch = open_batch(engine)
    _append(engine, batch, questions(1), sent=sent)
    assert job_rows(engine, batch)[0].sent_at == (NOW if sent else None)


def test_the_next_slice_follows_the_last_one(engine):
    batch = open_batch(engine)
    _append(engine, batch, questions(3))
    _append(engine, batch, questions(2, first=4))
    assert [row.position for row in _stored_questions(engine, batch)] == [1, 2, 3, 4, 5]
    assert _found(engine, batch).question_count == 5


@pytest.mark.parametrize("first", [1, 3, 5], ids=["again", "overlapping", "with a gap"])
def test_a_slice_out_of_order_is_refused_and_stores_nothing(engine, first):
    batch = open_batch(engine)
    _append(engine, batch, questions(3))
    with pytest.raises(BatchClosed, match="being submitted by another process"):
        _append(engine, batch, questions(2, first=first))
    assert len(_stored_questions(engine, batch)) == 3
    assert len(job_rows(engine, batch)) == 2


@pytest.mark.parametrize("state", [BatchState.CANCELLED, BatchState.EXPIRED])
def test_a_stopped_batch_takes_no_questions(engine, state):
    batch = open_batch(engine)
    with transaction(engine) as conn:
        assert batches.end_early(conn, batch.id, state)
    with pytest.raises(BatchClosed, match=f"is {state}: it cannot be added to"):
        _append(engine, batch, questions(1))
    assert _stored_questions(engine, batch) == []


def test_a_sealed_batch_takes_no_questions(engine):
    batch = stored_batch(engine, 2)
    with pytest.raises(BatchClosed, match="is sealed"):
        _append(engine, batch, questions(1, first=3))


def test_a_key_is_taken_once_in_a_batch(engine):
    batch = open_batch(engine)
    new_questions = [question(1, key="same"), question(2, key="same")]
    with pytest.raises(sa.exc.IntegrityError):
        _append(engine, batch, new_questions)
    assert _stored_questions(engine, batch) == []
    assert _found(engine, batch).question_count == 0
    other = stored_batch(engine, [question(1, key="same")], name="other")
    assert len(_stored_questions(engine, other)) == 1


def test_of_two_submissions_at_once_one_is_refused(engine):
    batch = open_batch(engine)
    barrier, outcomes = threading.Barrier(2), []

    def submit():
        barrier.wait()
        try:
            outcomes.append(len(_append(engine, batch, questions(300), job_size=100)))
        except BatchClosed:
            outcomes.append("refused")

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [3, "refused"]
    assert len(_stored_questions(engine, batch)) == 300


def _comes_back_as_it_went_in(engine, batch, new_questions):
    _append(engine, batch, new_questions)
    assert [
        (row.position, row.key, row.text, row.language, row.metadata)
        for row in _stored_questions(engine, batch)
    ] == [(row.position, row.key, row.text, row.language, row.metadata) for row in new_questions]


def test_awkward_texts_come_back_as_they_went_in(engine):
    new_questions = [
        question(
            number, text, key=f"{number} {text[:100]}", language=text[:100], metadata={text: [text]}
        )
        for number, text in enumerate(_awkward, start=1)
    ]
    _comes_back_as_it_went_in(engine, open_batch(engine), new_questions)


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(_texts, st.none() | _texts, st.none() | st.dictionaries(_texts, _json)),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_and_metadata_come_back_as_they_went_in(engine, rows):
    with reading(engine) as conn:
        batch_number = len(batches.newest(conn, 1_000))
    new_questions = [
        question(number, text, key=f"{number}{text}", language=language, metadata=metadata)
        for number, (text, language, metadata) in enumerate(rows, start=1)
    ]
    _comes_back_as_it_went_in(engine, open_batch(engine, f"example {batch_number}"), new_questions)


def test_no_metadata_is_null_for_sql_clients_too(engine):
    stored_batch(engine, [question(1, metadata=None), question(2, metadata={})])
    with reading(engine) as conn:
        query = sa.text("SELECT position FROM questions WHERE metadata IS NULL")
        assert list(conn.scalars(query)) == [1]
