"""Webhooks: sent from SQL rows, signed, and tried again until accepted."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from core.domain.batch import BatchState
from core.domain.result import Status
from core.errors import DeliveryUnknown, WebhookInvalid
from db.queries import batches, jobs, retention, retries, webhook_deliveries
from db.queries.webhook_deliveries import BACKOFF
from db.session import reading, transaction
from db.tables import deliveries as d
from producer.webhooks import delivery
from producer.webhooks.delivery import WebhookContext, deliver_due
from tests.factories import NOW, finish, result, running_job, stored_batch
from tests.fakes import FakeClock
from tests.receiver import receiving

KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def ended(engine, receiver):
    """Store a batch with a webhook, and end it."""

    def ended(**values):
        url = f"http://127.0.0.1:{receiver.port}/hook?token=hidden"
        batch = stored_batch(engine, 2, **{"webhook": url, **values})
        finish(engine, running_job(engine, batch), [result(1), result(2, Status.HANDED_OFF)])
        with transaction(engine) as conn:
            batches.close_finished(conn, NOW)
        return batch

    return ended


@pytest.fixture
def clock():
    """Return a clock that the test moves."""
    return FakeClock(NOW)


@pytest.fixture
def context(engine, settings, clock):
    with_secret = settings.model_copy(
        update={"webhook_private": True, "webhook_secret": SecretStr(SECRET)}
    )
    return WebhookContext(engine, with_secret, clock)


@pytest.fixture
def only(engine):
    """Return the only delivery."""

    def only():
        with reading(engine) as conn:
            (row,) = conn.execute(sa.select(d))
            (item,) = webhook_deliveries.of_batch(conn, row.batch_id)
            return item

    return only


def test_the_end_is_reported_once_with_counts_alone_and_signed(ended, context, receiver, only):
    batch = ended()
    assert [deliver_due(context), deliver_due(context)] == [1, 0]
    ((path, headers, body),) = receiver.came
    assert path == "/hook?token=hidden"
    message = json.loads(body)
    assert (message["type"], set(message)) == ("batch.done", {"type", "timestamp", "data"})
    counts = {"answered": 1, "handed_off": 1, "failed": 0, "cancelled": 0, "expired": 0}
    assert message["data"] == {"batch": batch.id, "state": "done", "questions": 2, **counts}
    name = {name.lower(): value for name, value in headers.items()}
    signed = f"{name['webhook-id']}.{name['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert name["webhook-signature"] == f"v1,{expected}"
    assert (only().state, only().status, only().message_id) == (
        "delivered",
        204,
        name["webhook-id"],
    )


def test_a_batch_without_a_webhook_sends_nothing(ended, context, receiver, engine):
    ended(webhook=None)
    assert deliver_due(context) == 0
    with reading(engine) as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(d)) == 0
    assert receiver.came == []


@pytest.mark.parametrize("state", [BatchState.CANCELLED, BatchState.EXPIRED])
def test_other_ends_are_reported(state, engine, context, receiver):
    batch = stored_batch(engine, 2, webhook=f"http://127.0.0.1:{receiver.port}/")
    with transaction(engine) as conn:
        batches.end_early(conn, batch.id, state)
        stopped = batches.find(conn, str(batch.id))
        jobs.close_queued(conn, stopped, Status(state.value), limit=9, now=NOW)
        batches.close_finished(conn, NOW)
    deliver_due(context)
    assert json.loads(receiver.came[0][2])["type"] == f"batch.{state}"


def test_what_is_not_taken_is_sent_again_later_and_later_as_the_same_message(
    ended, context, receiver, clock, only
):
    ended()
    receiver.statuses = [500, 302, 204]
    for wait in BACKOFF[:2]:
        assert deliver_due(context) == 1
        assert deliver_due(context) == 0  # not at once
        assert (only().state, only().next_at) == ("waiting", clock.now + wait)
        clock.now += wait
    assert deliver_due(context) == 1
    assert only().state == "delivered"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1


def test_after_the_last_attempt_it_is_given_up(ended, context, receiver, clock, only):
    ended()
    receiver.statuses = [500]
    for _ in range(len(BACKOFF) + 3):
        deliver_due(context)
        clock.now += BACKOFF[-1]
    assert (len(receiver.came), only().state) == (len(BACKOFF) + 1, "given up")
    assert only().error == "the receiver responded with status 500"


def test_a_receiver_that_is_permanently_gone_gets_no_more_attempts(
    ended, context, receiver, clock, only
):
    ended()
    receiver.statuses = [410]
    deliver_due(context)
    clock.now += timedelta(days=9)
    assert (deliver_due(context), only().state) == (0, "given up")


def test_a_webhook_claimed_by_a_dead_process_is_sent_by_the_next(
    ended, engine, context, receiver, clock
):
    ended()
    with transaction(engine) as conn:
        assert len(webhook_deliveries.claim_due(conn, NOW, 8)) == 1  # the process dies
    clock.now += BACKOFF[0]
    assert (deliver_due(context), len(receiver.came)) == (1, 1)


def test_private_addresses_are_called_only_if_allowed(ended, context, receiver, settings, only):
    ended(webhook=f"https://127.0.0.1:{receiver.port}/")
    careful = WebhookContext(context.engine, settings, context.clock)
    deliver_due(careful)
    assert only().error == "the URL has an address inside a private network"
    assert receiver.came == []


def test_a_message_is_sent_again_on_demand(ended, engine, context, receiver, only):
    batch = ended()
    deliver_due(context)
    again = delivery.replay(engine, str(batch.id), only().id)
    assert again.state == "waiting"
    context.clock.now = again.next_at
    deliver_due(context)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1
    assert len(receiver.came) == 2
    with pytest.raises(DeliveryUnknown):
        delivery.replay(engine, str(batch.id), only().id + 1)


def test_a_batch_that_ends_again_after_a_retry_sends_a_second_webhook(
    ended, engine, context, receiver
):
    batch = ended()
    with transaction(engine) as conn:
        retries.retry(conn, batch, [Status.HANDED_OFF], limit=9, now=NOW)
    finish(engine, running_job(engine, batch), [result(2)])
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
    deliver_due(context)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 2


def test_neither_the_address_nor_the_secret_is_logged(ended, context, receiver, caplog, capfd):
    ended()
    receiver.statuses = [500]
    deliver_due(context)
    output = caplog.text + "".join(capfd.readouterr())
    assert "webhook not delivered" in output
    assert "hidden" not in output
    assert SECRET not in output


def test_submit_checks_the_webhook_first(submitted, write, engine, stored):
    path = write("tickets.csv", 4)
    with pytest.raises(WebhookInvalid):
        submitted(path, webhook="https://10.0.0.1/")
    assert stored() == (0, 0, 0)
    done = submitted(path, webhook="https://example.com/hook")
    with reading(engine) as conn:
        assert batches.find(conn, str(done.batch.id)).webhook == "https://example.com/hook"


def test_pruning_a_batch_deletes_its_webhooks(ended, engine, context):
    batch = ended()
    with transaction(engine) as conn:
        assert retention.mark(conn, [batch.id], NOW + timedelta(days=1)) == [batch.id]
        retention.delete(conn, [batch.id])
        assert conn.scalar(sa.select(sa.func.count()).select_from(d)) == 0
    assert deliver_due(context) == 0
