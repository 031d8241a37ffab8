"""What is taken out of questions never reaches the database, whichever way they come."""

from __future__ import annotations

import io
import json

import pytest
import sqlalchemy as sa

from core.domain.batch import Question
from db.session import reading
from producer.openai import files as openai_files
from producer.submission.append import append, open_batch
from producer.submission.ask import submit_question
from tests.factories import raw

EMAIL, PHONE, CARD = "jane.doe@example.com", "13812345678", "4111 1111 1111 1111"
TEXT = f"Write to {EMAIL} or call {PHONE}, I paid by {CARD}."
TOLD = "Write to [email] or call [phone], I paid by [card]."


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"redact": "email,phone,card"})


@pytest.fixture(params=["submit", "append", "ask", "file"])
def count(request, engine, client, settings):
    """Ask in one of the ways that there are; return how many questions are stored."""
    files = request.getfixturevalue("submitted"), request.getfixturevalue("write")
    return globals()[f"by_{request.param}"](engine, client, settings, *files)


def by_submit(_engine, client, settings, submitted, write):
    lines = [{"question": TEXT, "note": EMAIL}, {"question": TEXT}]
    submitted(write("a.jsonl", "\n".join(map(json.dumps, lines))), client, settings)
    return 2


def by_append(engine, client, settings, *_):
    open_batch(engine, name="day", source="test")
    append(engine, client, settings, "day", [Question(1, "1", TEXT, None, {"note": [PHONE]})])
    return 1


def by_ask(engine, client, settings, *_):
    submit_question(engine, client, settings, TEXT)
    return 1


def by_file(engine, _client, settings, *_):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    content = json.dumps(line).encode()
    kept = openai_files.keep(engine, settings, "requests.jsonl", io.BytesIO(content))
    (part,) = openai_files.content(engine, kept.id)
    assert kept.bytes == len(part)
    assert json.loads(part)["body"]["messages"][0]["content"][0]["text"] == TOLD
    return 0


def test_nothing_of_it_is_stored(count, engine):
    stored = raw(engine)
    for taken in (EMAIL, PHONE, CARD, "4111"):
        assert taken not in stored
    with reading(engine) as conn:
        assert list(conn.scalars(sa.text("SELECT text FROM questions"))) == [TOLD] * count


def test_the_digest_of_what_was_asked_is_of_what_is_stored(engine, client, settings):
    """By a digest with the number in it, all numbers could be tried."""
    first = submit_question(engine, client, settings, TEXT, token="a" * 32)
    second = submit_question(
        engine, client, settings, TEXT.replace(PHONE, "13987654321"), token="b" * 32
    )
    assert first.idempotency_key == second.idempotency_key


def test_what_is_redacted_is_the_same_question_when_it_comes_again(engine, client, settings):
    first = submit_question(engine, client, settings, TEXT, token="a" * 32)
    assert submit_question(engine, client, settings, TEXT, token="a" * 32).id == first.id
