"""Encryption of stored texts, on both databases."""

from __future__ import annotations

import base64

import pytest
import sqlalchemy as sa

from core import encryption
from core.domain.result import Status
from core.encryption import MARK, Cipher
from core.errors import KeyMissing, TextDamaged
from core.settings import load
from db import encrypted_columns
from db.engine import open_engine
from db.operations import key_rotation
from db.queries import batches, handoffs, results, retries, uploaded_files
from db.queries.uploaded_files import OpenAIBatch, UploadedFile
from db.session import reading, transaction
from db.tables import desk_answers
from tests.factories import (
    NOW,
    all_results,
    answer,
    finish,
    question,
    raw,
    result,
    running_job,
    stored_batch,
)

FIRST, SECOND = encryption.new_key(), encryption.new_key()
SECRET = "Marker 4711: where is my parcel?"
ASKED = [question(1, SECRET, metadata={"note": SECRET}), question(2, f"{MARK}{SECRET}")]
DESK = {"batch_id": 1, "position": 2, "answer": SECRET, "by": "jane", "at": NOW}
FAILED = f"ValueError: no answer to {SECRET}"


def id_of(key: str) -> str:
    return encryption.id_of(base64.b64decode(key))


@pytest.fixture
def opened(settings):
    """Open the database with these keys."""
    engines = []

    def opened(*keys: str) -> sa.Engine:
        rows = load.load(
            home=settings.home,
            database_url=settings.database,
            encryption_keys=",".join(keys) or None,
        )
        engines.append(open_engine(rows))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.dispose()


def filled(engine):
    """Store a batch in which every encrypted column contains the secret."""
    batch = stored_batch(engine, ASKED, job_size=2, idempotency_key=SECRET)
    ends = [
        result(1, answer=answer(answer=SECRET)),
        result(2, answer=answer(Status.FAILED, error=FAILED)),
    ]
    finish(engine, running_job(engine, batch), ends)
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
    with transaction(engine) as conn:
        file = UploadedFile("file-1", "requests.jsonl", 1, NOW)
        uploaded_files.begin(conn, file)
        uploaded_files.add_part(conn, "file-1", 0, SECRET.encode())
        uploaded_files.complete(conn, file)
        conn.execute(desk_answers.insert().values(**DESK))
        uploaded_files.add_openai_batch(
            conn, OpenAIBatch("order", "file-1", "/v1/responses", {"note": SECRET}, NOW)
        )
    return batch


def seen(engine, batch):
    """Return all values that contain the secret."""
    with reading(engine) as conn:
        return (
            results.texts(conn, batch.id, limit=9),
            [(row.question, row.answer, row.error) for row in results.page(conn, batch.id)],
            batches.find(conn, "tickets").idempotency_key,
            uploaded_files.part(conn, "file-1", 0),
            uploaded_files.find_openai_batch(conn, "order").metadata,
            handoffs.answered(conn, (batch.id, 2)).answer,
            conn.scalar(sa.text("SELECT count(*) FROM results")),
        )


def test_nothing_of_a_text_can_be_read_without_the_key(opened):
    engine = opened(FIRST)
    batch = filled(engine)
    assert "4711" not in raw(engine)
    assert f"{MARK}{id_of(FIRST)}:" in raw(engine)
    with reading(engine) as conn:
        (metadata,) = conn.scalars(
            sa.text("SELECT metadata FROM questions WHERE metadata IS NOT NULL")
        )
    assert str(metadata).strip('"').startswith(MARK)
    texts, rows, digest, part, noted, desk_answer, _ = seen(engine, batch)
    assert texts == [(1, "ticket-1", SECRET), (2, "ticket-2", f"{MARK}{SECRET}")]
    assert rows == [(SECRET, SECRET, None), (f"{MARK}{SECRET}", None, FAILED)]
    assert (digest, part, noted) == (SECRET, SECRET.encode(), {"note": SECRET})
    assert desk_answer == SECRET


def test_the_same_text_is_stored_differently_each_time(opened):
    engine = opened(FIRST)
    stored_batch(engine, [question(1, SECRET), question(2, SECRET)])
    with reading(engine) as conn:
        first, second = conn.scalars(sa.text("SELECT text FROM questions"))
    assert first != second


def test_classes_of_errors_stay_countable(opened):
    engine = opened(FIRST)
    batch = filled(engine)
    with reading(engine) as conn:
        assert retries.classes(conn, batch.id) == {"ValueError": 1}
        assert retries.count(conn, batch.id, [Status.FAILED], only="ValueError") == 1


def test_a_missing_key_is_named(opened):
    batch = filled(opened(FIRST))
    for engine in (opened(), opened(SECOND)):
        with reading(engine) as conn, pytest.raises(KeyMissing, match=id_of(FIRST)):
            results.page(conn, batch.id)
        with reading(engine) as conn, pytest.raises(KeyMissing):
            results.check_key(conn)
        with reading(engine) as conn:  # columns without a text stay readable
            reread = batches.find(conn, str(batch.id))
            assert (reread.state, reread.question_count) == ("done", 2)
            with pytest.raises(KeyMissing):
                batches.is_made_of(reread, SECRET)


def test_plain_and_encrypted_rows_lie_side_by_side(opened):
    plain, sealing = opened(), opened(FIRST)
    before = filled(plain)
    assert SECRET in raw(plain)
    after = stored_batch(sealing, [question(1, "new")], name="after")
    assert seen(sealing, before)[1][0] == (SECRET, SECRET, None)
    with reading(sealing) as conn:
        assert results.texts(conn, after.id, limit=1) == [(1, "ticket-1", "new")]


def test_a_rotation_seals_everything_anew_and_only_once(opened):
    batch = filled(opened())
    expected = seen(opened(), batch)
    cursors = [row.cursor for row in all_results(opened(), batch)]
    first, both, second = opened(FIRST), opened(SECOND, FIRST), opened(SECOND)
    rows = []
    assert (
        key_rotation.reencrypt_all(first, step=1, on_progress=lambda *seen: rows.append(seen)) == 8
    )
    assert ("questions", 2, 2) in rows
    assert key_rotation.reencrypt_all(first, on_progress=lambda *_: None) == 0
    assert "4711" not in raw(first)
    assert seen(first, batch) == expected
    assert key_rotation.reencrypt_all(both, on_progress=lambda *_: None) == 8
    assert id_of(FIRST) not in raw(both)
    assert seen(second, batch) == expected
    assert [row.cursor for row in all_results(second, batch)] == cursors


def test_a_rotation_that_was_interrupted_goes_on(opened):
    batch = filled(opened())
    engine = opened(FIRST)

    def stop(table, seen, total):  # noqa: ARG001 - the callback's signature
        if table == "questions":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        key_rotation.reencrypt_all(engine, step=1, on_progress=stop)
    left = key_rotation.reencrypt_all(engine, step=1, on_progress=lambda *_: None)
    assert 0 < left < 8
    assert "4711" not in raw(engine)
    assert seen(engine, batch)[0][0][2] == SECRET


def test_what_is_encrypted_can_be_made_plain_again(opened, settings):
    engine = opened(FIRST)
    batch = filled(engine)
    expected = seen(engine, batch)
    key = base64.b64decode(FIRST)
    leaving = open_engine(settings)
    encrypted_columns.set_cipher(leaving, Cipher([key], decrypt_only=True))
    key_rotation.reencrypt_all(leaving, on_progress=lambda *_: None)
    leaving.dispose()
    assert id_of(FIRST) not in raw(engine)
    assert seen(opened(), batch) == expected


def test_a_value_that_was_changed_or_moved_is_refused(opened):
    engine = opened(FIRST)
    batch = filled(engine)
    with transaction(engine) as conn:
        conn.execute(
            sa.text("UPDATE result_rows SET answer = (SELECT text FROM questions WHERE position=1)")
        )
    with reading(engine) as conn, pytest.raises(TextDamaged, match=r"results\.answer"):
        results.page(conn, batch.id)


@pytest.mark.parametrize(
    "stored", ["am1:", "am1:00000000:", "am1:00000000:%%", "am1:\x01", "am1:-"]
)
def test_text_that_looks_encrypted_and_is_not_comes_back_as_it_was(stored, opened):
    engine = opened()
    batch = stored_batch(engine, [question(1, stored.replace("\x01", "é"))])
    with reading(engine) as conn:
        assert results.texts(conn, batch.id, limit=1)[0][2] == stored.replace("\x01", "é")
