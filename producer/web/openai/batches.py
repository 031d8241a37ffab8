"""Routes `/openai/v1/batches`: create, list, get and cancel batches.

Only batches that were created from an uploaded file are visible here.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from core.domain.batch import Batch, BatchProgress, BatchState
from core.domain.result import Status
from db.queries import batches, uploaded_files
from db.queries.uploaded_files import OpenAIBatch
from db.session import reading
from producer.batches import cancel as cancelling
from producer.openai import files
from producer.web import problems
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.context import current_context
from producer.web.openai.schemas import (
    PREFIX,
    CreateOpenAIBatchBody,
    ListObjectsQuery,
    OpenAIBatchesResponse,
    OpenAIBatchPath,
    OpenAIBatchResponse,
)

api = APIBlueprint(
    "openai_batches",
    __name__,
    url_prefix=f"{PREFIX}/batches",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

# The status of a finished batch; with `_at`, also the name of its time.
_FINAL_STATUS = {
    BatchState.DONE: "completed",
    BatchState.CANCELLED: "cancelled",
    BatchState.EXPIRED: "expired",
}


@api.post("", summary="Create a batch from a file", responses={200: OpenAIBatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def create(body: CreateOpenAIBatchBody) -> Response:
    """Submit the requests of a file. They expire after 24 hours."""
    context = current_context()
    name = f"batch_{uuid.uuid4().hex}"
    order = OpenAIBatch(name, body.input_file_id, body.endpoint, body.metadata, context.clock())
    by = f"openai, key {caller().name}"
    files.make_batch(context.producer, order, by)
    return _response(name)


@api.get("", summary="List batches", responses={200: OpenAIBatchesResponse})
@requires_scope(Scope.READ)
def listing(query: ListObjectsQuery) -> Response:
    """Return the batches that were created from files, newest first."""
    context = current_context()
    now = context.clock()
    with reading(context.engine) as conn:
        orders = uploaded_files.newest_openai_batches(conn, query.limit + 1, query.after)
        data = [_document(conn, order, now) for order in orders[: query.limit]]
    return jsonify(object="list", data=data, has_more=len(orders) > query.limit)


@api.get("/<batch>", summary="Get a batch", responses={200: OpenAIBatchResponse})
@requires_scope(Scope.READ)
def get(path: OpenAIBatchPath) -> Response:
    """Return the status of a batch, after its end with output file ids."""
    return _response(path.batch)


@api.post("/<batch>/cancel", summary="Cancel a batch", responses={200: OpenAIBatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel(path: OpenAIBatchPath) -> Response:
    """Cancel the requests that have not started. Results remain."""
    engine = current_context().engine
    with reading(engine) as conn:
        uploaded_files.find_openai_batch(conn, path.batch)
    cancelling.cancel(engine, path.batch)
    return _response(path.batch)


def _response(name: str) -> Response:
    context = current_context()
    now = context.clock()
    with reading(context.engine) as conn:
        return jsonify(_document(conn, uploaded_files.find_openai_batch(conn, name), now))


def _document(conn: sa.Connection, order: OpenAIBatch, now: datetime) -> dict[str, Any]:
    batch = batches.named(conn, order.name)
    document = {
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
    if batch is None:  # its questions are not stored yet
        return document
    return {**document, **_progress(batch, batches.progress(conn, batch.id, now))}


def _progress(batch: Batch, progress: BatchProgress) -> dict[str, Any]:
    counts = progress.by_status
    completed = counts[Status.ANSWERED] + counts[Status.HANDED_OFF]
    failed = sum(counts.values()) - completed
    request_counts = {"total": batch.question_count, "completed": completed, "failed": failed}
    started = {
        "in_progress_at": int(batch.created_at.timestamp()),
        "expires_at": batch.deadline and int(batch.deadline.timestamp()),
        "request_counts": request_counts,
    }
    if batch.finished_at is None:
        return {**started, "status": _running_status(batch)}
    status = _FINAL_STATUS[batch.state]
    return {
        **started,
        "status": status,
        f"{status}_at": int(batch.finished_at.timestamp()),
        "output_file_id": f"{files.OUTPUT}{batch.name}" if completed else None,
        "error_file_id": f"{files.ERRORS}{batch.name}" if failed else None,
    }


def _running_status(batch: Batch) -> str:
    states = {BatchState.OPEN: "validating", BatchState.SEALED: "in_progress"}
    return states.get(batch.state, "cancelling")
