from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.client import open_broker
from core.domain.batch import BatchState, Lane
from core.domain.result import Status
from core.errors import BrokerUnavailable, SourceInvalid
from db.queries import batches
from db.session import reading
from producer.connections import ProducerContext
from producer.submission.ask import ask
from producer.submission.dispatch import JobDispatcher
from tests.factories import finish, job_rows, result, running_job

NOW = timedelta(0)
LONG = timedelta(minutes=1)


@pytest.fixture
def answered(engine, monkeypatch):
    """Answer every sent job at once."""

    def send(_, messages):
        for message in messages:
            with reading(engine) as conn:
                batch = batches.find(conn, str(message.batch))
            finish(engine, running_job(engine, batch), [result(1, key="1")])

    monkeypatch.setattr(JobDispatcher, "send", send)


@pytest.mark.usefixtures("answered")
def test_a_question_is_answered_while_one_waits(context):
    asked = ask(context, "Where is it?", wait=LONG)
    document = asked.document()
    assert document.pop("answered_at")
    assert document == {
        "batch": asked.batch.id,
        "name": asked.batch.name,
        "status": Status.ANSWERED,
        "answer": "On its way.",
        "entry_id": "parcel",
        "matched": "parcel?",
        "confidence": 0.9,
        "reason": None,
        "error": None,
        "model_version": "shop@1",
        "url": None,
        "runners_up": None,
    }


def test_an_unanswered_question_is_a_sealed_batch_on_the_interactive_lane(engine, context, waiting):
    asked = ask(context, "Where is it?", wait=NOW)
    assert asked.result is None
    assert asked.document()["status"] is None
    with reading(engine) as conn:
        batch = batches.find(conn, str(asked.batch.id))
    assert (batch.lane, batch.state) == (Lane.INTERACTIVE, BatchState.SEALED)
    assert (batch.question_count, batch.source) == (1, "ask")
    assert (waiting(Lane.INTERACTIVE), waiting(Lane.BULK)) == (1, 0)


def test_the_same_question_asked_twice_is_two_batches(context):
    first, second = (ask(context, "Why?", wait=NOW) for _ in range(2))
    assert first.batch.id != second.batch.id


def test_a_full_lane_leaves_the_job_to_the_sweep(engine, context, waiting):
    full = replace(context, settings=context.settings.model_copy(update={"high_water": 1}))
    asked = [ask(full, "Why?", wait=NOW) for _ in range(2)]
    assert waiting(Lane.INTERACTIVE) == 1
    assert [job_rows(engine, item.batch)[0].sent_at is None for item in asked] == [False, True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the text is blank"),
        (" \n", "the text is blank"),
        ("a\0b", "NUL"),
        ("\ud800", "lone surrogate"),
        ("x" * 1_000_001, "1,000,001 characters"),
    ],
)
def test_an_invalid_question_is_refused(text, problem, engine, context):
    with pytest.raises(SourceInvalid, match=problem):
        ask(context, text, wait=NOW)
    with reading(engine) as conn:
        assert batches.newest(conn, 1) == []


def test_unavailable_redis_stores_nothing(engine, settings, home, stored):
    unreachable = type(settings)(broker_url=f"redis+socket://{home}/none.sock", home=home)
    with open_broker(unreachable) as client, pytest.raises(BrokerUnavailable):
        ask(ProducerContext(unreachable, engine, client), "Why?", wait=NOW)
    assert stored() == (0, 0, 0)
