"""Use case: tell the ends of batches to those who want to know, as rows of `deliveries` say."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib import metadata
from typing import Any

import sqlalchemy as sa
import structlog

from core import tls
from core.errors import ServiceUnavailable, WebhookInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import audit_log, batches, webhook_deliveries
from db.queries.webhook_deliveries import Delivery
from db.session import reading, transaction
from producer.webhooks.signed_post import post, signatures

log = structlog.get_logger()

_AT_ONCE = 8  # messages: a receiver that is slow holds up few others
_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """What messages are sent with."""

    engine: sa.Engine
    settings: Settings
    clock: Callable[[], datetime]
    context: ssl.SSLContext | None = None  # None: the system's CAs


def deliver_due(sender: WebhookContext) -> int:
    """Try once what is to be tried now; return how many messages that was.

    Raises:
        DatabaseUnavailable: it can't be reached; what was not noted is sent again.
    """
    now = sender.clock()
    with transaction(sender.engine) as conn:
        due = webhook_deliveries.claim_due(conn, now, _AT_ONCE)
    if due:
        with ThreadPoolExecutor(len(due), thread_name_prefix="webhook") as pool:
            list(pool.map(partial(_deliver, sender), *zip(*due, strict=True)))
    return len(due)


def _deliver(sender: WebhookContext, delivery: Delivery, url: str) -> None:
    body = _body(sender.engine, delivery, sender.clock())
    status, error = _send(sender, delivery, url, body)
    facts = {"delivery": delivery.id, "batch": delivery.batch_id, "attempt": delivery.attempts}
    now = sender.clock()
    with transaction(sender.engine) as conn:
        if status is not None and error is None:
            webhook_deliveries.mark_delivered(conn, delivery.id, status, now)
            log.info("webhook delivered", status=status, **facts)
            return
        told, final = str(error), status == HTTPStatus.GONE
        webhook_deliveries.mark_failed(conn, delivery, status=status, error=told, final=final)
    log.warning("webhook not delivered", error=told, **facts)


def _send(
    sender: WebhookContext, delivery: Delivery, url: str, body: bytes
) -> tuple[int | None, str | None]:
    """Send it; return the response's status, and what went wrong."""
    settings, timestamp = sender.settings, int(time.time())
    signed = signatures(settings.signing_keys, delivery.message_id, timestamp, body)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"answermill/{metadata.version('answermill')}",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signed,
    }
    try:
        status = post(url, body, headers, private=settings.webhook_private, context=sender.context)
    except WebhookInvalid as error:
        return None, error.problem
    except TimeoutError:
        return None, "it did not answer in time"
    except OSError as error:  # its own text may name the address
        return None, tls.fault_of(error) or (error.strerror or type(error).__name__).lower()
    except http.client.HTTPException as error:
        return None, f"it did not answer as HTTP has it: {type(error).__name__}"
    ok = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    return status, None if ok else f"it answered {status}"


def _body(engine: sa.Engine, delivery: Delivery, now: datetime) -> bytes:
    with reading(engine) as conn:
        batch = batches.find(conn, str(delivery.batch_id))
        counts = batches.progress(conn, batch.id, now).by_status
    told: dict[str, Any] = {
        "type": delivery.event,
        "timestamp": delivery.created_at.isoformat(),
        "data": {
            "batch": batch.id,
            "state": delivery.event.removeprefix("batch."),
            "questions": batch.question_count,
            **{status.value: count for status, count in counts.items()},
        },
    }
    return json.dumps(told, separators=(",", ":")).encode()


def replay(engine: sa.Engine, ref: str, delivery_id: int, by: str | None = None) -> Delivery:
    """Let a batch's message be sent again; noted in `audit` as done by somebody, if one is given.

    Raises:
        BatchUnknown: there is no such batch.
        DeliveryUnknown: it has no such message.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        if by is not None:
            target = f"{batch.id}/{delivery_id}"
            audit_log.record(conn, actor=by, action="webhooks.replay", target=target, now=now)
        return webhook_deliveries.replay(conn, batch.id, delivery_id, now)


def listed(engine: sa.Engine, ref: str) -> list[Delivery]:
    """Return a batch's messages, the oldest first.

    Raises:
        BatchUnknown: there is no such batch.
    """
    with reading(engine) as conn:
        return webhook_deliveries.of_batch(conn, batches.find(conn, ref).id)


class WebhookDeliveryLoop:
    """Delivers in a thread of its own until the process ends."""

    def __init__(self, sender: WebhookContext) -> None:
        self._sender = sender
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin; called in the process that serves, after any fork."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sent = deliver_due(self._sender)
            except ServiceUnavailable as error:
                log.warning("webhooks put off", error=str(error))
                sent = 0
            except Exception as error:  # noqa: BLE001 - the next one may be well
                log.error("webhooks failed", error=type(error).__name__)  # noqa: TRY400 - may quote
                sent = 0
            if sent < _AT_ONCE:
                time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
