"""Use case: deliver webhooks that report the ends of batches.

The table `deliveries` has a row for each webhook. A failed delivery is tried again later, always as
the same message.
"""

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

_CONCURRENCY = 8  # webhooks; higher: a slow receiver delays fewer others, more threads
_POLL_SECONDS = 2.0  # higher: fewer queries, later webhooks


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """Dependencies of a delivery."""

    engine: sa.Engine
    settings: Settings
    clock: Callable[[], datetime]
    tls_context: ssl.SSLContext | None = None  # None: the CAs of the system


def deliver_due(context: WebhookContext) -> int:
    """Try each due webhook once, and return how many were due.

    Raises:
        DatabaseUnavailable: the database cannot be reached. An attempt whose outcome was not stored
            is made again.
    """
    now = context.clock()
    with transaction(context.engine) as conn:
        due = webhook_deliveries.claim_due(conn, now, _CONCURRENCY)
    if due:
        with ThreadPoolExecutor(len(due), thread_name_prefix="webhook") as pool:
            list(pool.map(partial(_deliver, context), *zip(*due, strict=True)))
    return len(due)


def _deliver(context: WebhookContext, delivery: Delivery, url: str) -> None:
    body = _body(context.engine, delivery, context.clock())
    status, error = _send(context, delivery, url, body)
    facts = {"delivery": delivery.id, "batch": delivery.batch_id, "attempt": delivery.attempts}
    now = context.clock()
    with transaction(context.engine) as conn:
        if status is not None and error is None:
            webhook_deliveries.mark_delivered(conn, delivery.id, status, now)
            log.info("webhook delivered", status=status, **facts)
            return
        problem, final = str(error), status == HTTPStatus.GONE
        webhook_deliveries.mark_failed(conn, delivery, status=status, error=problem, final=final)
    log.warning("webhook not delivered", error=problem, **facts)


def _send(
    context: WebhookContext, delivery: Delivery, url: str, body: bytes
) -> tuple[int | None, str | None]:
    """Send the webhook, and return the status of the response and a fault."""
    settings, timestamp = context.settings, int(time.time())
    signed = signatures(settings.signing_keys, delivery.message_id, timestamp, body)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"answermill/{metadata.version('answermill')}",
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signed,
    }
    try:
        status = post(
            url, body, headers, private=settings.webhook_private, context=context.tls_context
        )
    except WebhookInvalid as error:
        return None, error.problem
    except TimeoutError:
        return None, "the receiver did not respond in time"
    except OSError as error:  # its text may contain the address
        return None, tls.fault_of(error) or (error.strerror or type(error).__name__).lower()
    except http.client.HTTPException as error:
        return None, f"the response is not HTTP: {type(error).__name__}"
    ok = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    return status, None if ok else f"the receiver responded with status {status}"


def _body(engine: sa.Engine, delivery: Delivery, now: datetime) -> bytes:
    with reading(engine) as conn:
        batch = batches.find(conn, str(delivery.batch_id))
        counts = batches.progress(conn, batch.id, now).by_status
    message: dict[str, Any] = {
        "type": delivery.event,
        "timestamp": delivery.created_at.isoformat(),
        "data": {
            "batch": batch.id,
            "state": delivery.event.removeprefix("batch."),
            "questions": batch.question_count,
            **{status.value: count for status, count in counts.items()},
        },
    }
    return json.dumps(message, separators=(",", ":")).encode()


def replay(engine: sa.Engine, ref: str, delivery_id: int, by: str | None = None) -> Delivery:
    """Queue a webhook of a batch to be sent again.

    `by`: the user to record in the audit log; None: record nothing.

    Raises:
        BatchUnknown: no batch has this id or name.
        DeliveryUnknown: the batch has no delivery with this number.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        if by is not None:
            target = f"{batch.id}/{delivery_id}"
            audit_log.record(conn, actor=by, action="webhooks.replay", target=target, now=now)
        return webhook_deliveries.replay(conn, batch.id, delivery_id, now)


def listed(engine: sa.Engine, ref: str) -> list[Delivery]:
    """Return the deliveries of a batch, oldest first.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    with reading(engine) as conn:
        return webhook_deliveries.of_batch(conn, batches.find(conn, ref).id)


class WebhookDeliveryLoop:
    """A thread that delivers webhooks until the process ends."""

    def __init__(self, context: WebhookContext) -> None:
        self._context = context
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread. Call it after any fork, in the serving process."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sent = deliver_due(self._context)
            except ServiceUnavailable as error:
                log.warning("webhooks postponed", reason=str(error))
                sent = 0
            except Exception as error:  # noqa: BLE001 - the next delivery may succeed
                log.error("webhooks failed", error=type(error).__name__)  # noqa: TRY400 - the traceback may contain texts
                sent = 0
            if sent < _CONCURRENCY:
                time.sleep(_POLL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
