"""Redacted text never reaches the database, through any producer."""

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
REDACTED = "Write to [email] or call [phone], I paid by [card]."


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"redact": "email,phone,card"})


@pytest.fixture(params=["submit", "append", "ask", "file"])
def count(request, context):
    """Store questions through one producer; return how many are stored."""
    files = request.getfixturevalue("submitted"), request.getfixturevalue("write")
    return globals()[f"by_{request.param}"](context, *files)


def by_submit(context, submitted, write):
    lines = [{"question": TEXT, "note": EMAIL}, {"question": TEXT}]
    submitted(write("a.jsonl", "\n".join(map(json.dumps, lines))), context.client, context.settings)
    return 2


def by_append(context, *_):
    open_batch(context.engine, name="day", source="test")
    append(context, "day", [Question(1, "1", TEXT, None, {"note": [PHONE]})])
    return 1


def by_ask(context, *_):
    submit_question(context, TEXT)
    return 1


def by_file(context, *_):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    content = json.dumps(line).encode()
    kept = openai_files.keep(
        context.engine, context.settings, "requests.jsonl", io.BytesIO(content)
    )
    (part,) = openai_files.content(context.engine, kept.id)
    assert kept.bytes == len(part)
    assert json.loads(part)["body"]["messages"][0]["content"][0]["text"] == REDACTED
    return 0


def test_nothing_of_it_is_stored(count, engine):
    stored = raw(engine)
    for taken in (EMAIL, PHONE, CARD, "4111"):
        assert taken not in stored
    with reading(engine) as conn:
        assert list(conn.scalars(sa.text("SELECT text FROM questions"))) == [REDACTED] * count


def test_the_digest_of_a_question_is_of_its_stored_text(context):
    """A digest of the original would let an attacker try all numbers."""
    first = submit_question(context, TEXT, token="a" * 32)
    second = submit_question(context, TEXT.replace(PHONE, "13987654321"), token="b" * 32)
    assert first.idempotency_key == second.idempotency_key


def test_a_repeated_question_is_recognized_after_redaction(context):
    first = submit_question(context, TEXT, token="a" * 32)
    assert submit_question(context, TEXT, token="a" * 32).id == first.id
