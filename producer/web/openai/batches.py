"""`/openai/v1/batches`: create, list, look up, cancel, as OpenAI's clients do it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from core.domain.batch import Batch, BatchState, Progress
from core.domain.result import Status
from db.queries import batches, uploaded_files
from db.queries.uploaded_files import Order
from db.session import reading
from producer.batches import cancel as cancelling
from producer.openai import files
from producer.web import problems
from producer.web.auth.authorization import SCHEME, caller, needs
from producer.web.context import here
from producer.web.openai.schemas import PREFIX, After, NewOrder, OrderPath, Orders
from producer.web.openai.schemas import Order as OrderShape

api = APIBlueprint(
    "openai_batches",
    __name__,
    url_prefix=f"{PREFIX}/batches",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

# How a finished batch is told, and what the moment of its end is called.
_ENDS = {
    BatchState.DONE: "completed",
    BatchState.CANCELLED: "cancelled",
    BatchState.EXPIRED: "expired",
}


@api.post("", summary="Create a batch of a file", responses={200: OrderShape})
@needs(Scope.SUBMIT, recorded=True)
def create(body: NewOrder) -> Response:
    """Submit a file's requests: what has no answer within 24 hours expires."""
    s = here()
    name = f"batch_{uuid.uuid4().hex}"
    order = Order(name, body.input_file_id, body.endpoint, body.metadata, s.clock())
    by = f"openai, key {caller().name}"
    files.make_batch(s.engine, s.client, s.settings, order, by)
    return _told(name)


@api.get("", summary="List batches", responses={200: Orders})
@needs(Scope.READ)
def listing(query: After) -> Response:
    """Tell which batches were made of files, the newest first."""
    s = here()
    now = s.clock()
    with reading(s.engine) as conn:
        found = uploaded_files.newest_orders(conn, query.limit + 1, query.after)
        data = [_document(conn, order, now) for order in found[: query.limit]]
    return jsonify(object="list", data=data, has_more=len(found) > query.limit)


@api.get("/<batch>", summary="Look a batch up", responses={200: OrderShape})
@needs(Scope.READ)
def get(path: OrderPath) -> Response:
    """Tell where a batch stands, and its files when it has ended."""
    return _told(path.batch)


@api.post("/<batch>/cancel", summary="Cancel a batch", responses={200: OrderShape})
@needs(Scope.SUBMIT, recorded=True)
def cancel(path: OrderPath) -> Response:
    """Cancel what has not started; what has ended stays as it is."""
    engine = here().engine
    with reading(engine) as conn:
        uploaded_files.ordered(conn, path.batch)
    cancelling.cancel(engine, path.batch)
    return _told(path.batch)


def _told(name: str) -> Response:
    s = here()
    now = s.clock()
    with reading(s.engine) as conn:
        return jsonify(_document(conn, uploaded_files.ordered(conn, name), now))


def _document(conn: sa.Connection, order: Order, now: datetime) -> dict[str, Any]:
    batch = batches.named(conn, order.name)
    told = {
        "id": order.name,
        "object": "batch",
        "endpoint": order.endpoint,
        "errors": None,
        "input_file_id": order.file_id,
        "completion_window": "24h",
        "status": "validating",
        "created_at": int(order.created_at.timestamp()),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": order.metadata,
    }
    if batch is None:  # its questions are about to be stored
        return told
    return {**told, **_progress(batch, batches.progress(conn, batch.id, now))}


def _progress(batch: Batch, progress: Progress) -> dict[str, Any]:
    counts = progress.by_status
    completed = counts[Status.ANSWERED] + counts[Status.HANDED_OFF]
    failed = sum(counts.values()) - completed
    totals = {"total": batch.question_count, "completed": completed, "failed": failed}
    told = {
        "in_progress_at": int(batch.created_at.timestamp()),
        "expires_at": batch.deadline and int(batch.deadline.timestamp()),
        "request_counts": totals,
    }
    if batch.finished_at is None:
        return {**told, "status": _running(batch)}
    end = _ENDS[batch.state]
    return {
        **told,
        "status": end,
        f"{end}_at": int(batch.finished_at.timestamp()),
        "output_file_id": f"{files.OUTPUT}{batch.name}" if completed else None,
        "error_file_id": f"{files.ERRORS}{batch.name}" if failed else None,
    }


def _running(batch: Batch) -> str:
    states = {BatchState.OPEN: "validating", BatchState.SEALED: "in_progress"}
    return states.get(batch.state, "cancelling")
