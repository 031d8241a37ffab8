"""`/openai/v1/batches`: create, list, look up, cancel, as OpenAI's clients do it."""

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
    BatchList,
    BatchObjectPath,
    CreateBatchBody,
    ListQuery,
)
from producer.web.openai.schemas import BatchObject as OrderShape

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
@requires_scope(Scope.SUBMIT, recorded=True)
def create(body: CreateBatchBody) -> Response:
    """Submit a file's requests: what has no answer within 24 hours expires."""
    s = current_context()
    name = f"batch_{uuid.uuid4().hex}"
    order = OpenAIBatch(name, body.input_file_id, body.endpoint, body.metadata, s.clock())
    by = f"openai, key {caller().name}"
    files.make_batch(s.engine, s.client, s.settings, order, by)
    return _told(name)


@api.get("", summary="List batches", responses={200: BatchList})
@requires_scope(Scope.READ)
def listing(query: ListQuery) -> Response:
    """Tell which batches were made of files, the newest first."""
    s = current_context()
    now = s.clock()
    with reading(s.engine) as conn:
        found = uploaded_files.newest_openai_batches(conn, query.limit + 1, query.after)
        data = [_document(conn, order, now) for order in found[: query.limit]]
    return jsonify(object="list", data=data, has_more=len(found) > query.limit)


@api.get("/<batch>", summary="Look a batch up", responses={200: OrderShape})
@requires_scope(Scope.READ)
def get(path: BatchObjectPath) -> Response:
    """Tell where a batch stands, and its files when it has ended."""
    return _told(path.batch)


@api.post("/<batch>/cancel", summary="Cancel a batch", responses={200: OrderShape})
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel(path: BatchObjectPath) -> Response:
    """Cancel what has not started; what has ended stays as it is."""
    engine = current_context().engine
    with reading(engine) as conn:
        uploaded_files.find_openai_batch(conn, path.batch)
    cancelling.cancel(engine, path.batch)
    return _told(path.batch)


def _told(name: str) -> Response:
    s = current_context()
    now = s.clock()
    with reading(s.engine) as conn:
        return jsonify(_document(conn, uploaded_files.find_openai_batch(conn, name), now))


def _document(conn: sa.Connection, order: OpenAIBatch, now: datetime) -> dict[str, Any]:
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


def _progress(batch: Batch, progress: BatchProgress) -> dict[str, Any]:
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
