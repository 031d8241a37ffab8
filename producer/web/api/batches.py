"""Routes `/v1/batches`: submit, append, seal, follow, cancel, retry.

A request is validated completely before any of its questions is stored. An interrupted submission
continues when it is repeated with the same Idempotency-Key or the same name.
"""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response, jsonify, request, url_for
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.types import ResponseDict

from core.domain.api_key import Scope
from core.domain.batch import Question
from core.domain.result import Status
from producer.batches import cancel as cancelling
from producer.batches import retry as retrying
from producer.batches.status import BatchStatus, batch_status, newest
from producer.submission import append as appending
from producer.submission.admission import WhenFull
from producer.submission.batch_name import checked_name
from producer.submission.submit import SubmitRequest, SubmitResult, submit
from producer.web import problems
from producer.web.api import uploads
from producer.web.api.schemas import (
    AppendQuery,
    BatchesResponse,
    BatchPath,
    BatchResponse,
    CreateBatchQuery,
    CreatedBatchResponse,
    ListBatchesQuery,
    RetryQuery,
    RetryResponse,
)
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.auth.idempotency import IdempotencyHeader, token_of
from producer.web.context import current_context
from producer.webhooks.signed_post import target_of

api = APIBlueprint(
    "batches",
    __name__,
    url_prefix="/v1/batches",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

_CREATED_REF = f"#/components/schemas/{CreatedBatchResponse.__name__}"
_CREATED: ResponseDict = {
    200: CreatedBatchResponse,
    201: {
        "description": "Stored",
        "content": {"application/json": {"schema": {"$ref": _CREATED_REF}}},
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
}

_EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


def _body(content: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}


@api.get("", summary="List batches", responses={200: BatchesResponse})
@requires_scope(Scope.READ)
def listing(query: ListBatchesQuery) -> Response:
    """Return the status of the newest batches."""
    statuses = newest(current_context().engine, query.limit, query.before)
    return jsonify(batches=[status.document() for status in statuses])


@api.post(
    "",
    summary="Submit a batch",
    responses=_CREATED,
    openapi_extensions=_body(uploads.BODY, required=False),
)
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def create(header: IdempotencyHeader, query: CreateBatchQuery) -> Response:
    """Store the questions of the body as a batch, or open an empty batch.

    An open batch accepts questions until it is sealed.
    """
    _check_webhook(query.webhook)
    token = token_of(header) or uuid.uuid4().hex
    name = checked_name(query.name) if query.name is not None else f"http-{token}"
    result = _open(query, name) if query.open else _submit(query, name)
    response = jsonify(result.document())
    response.status_code = 200 if result.already else 201
    response.headers["Location"] = url_for("batches.get", batch=result.batch.id)
    return response


def _check_webhook(url: str | None) -> None:
    if url is None:
        return
    settings = current_context().settings
    if not settings.signing_keys:
        hint = "omit `webhook`, or ask the operator to set ANSWERMILL_WEBHOOK_SECRET"
        problems.refuse(422, "webhooks are not enabled on this server", field="webhook", hint=hint)
    target_of(url, private=settings.webhook_private)


def _open(query: CreateBatchQuery, name: str) -> SubmitResult:
    if request.content_length:
        problems.refuse(422, "a request with open=true must have no body", field="body")
    batch = appending.open_batch(
        current_context().engine,
        name=name,
        source=f"opened, key {caller().name}",
        lane=query.lane,
        deadline=query.deadline,
        webhook=query.webhook,
    )
    return SubmitResult(
        batch, batch.question_count, resumed=False, already=batch.question_count > 0
    )


def _submit(query: CreateBatchQuery, name: str) -> SubmitResult:
    with uploads.received(query.text, query.key) as checked_file:
        submit_request = SubmitRequest(
            checked_file,
            name=name,
            lane=query.lane,
            deadline=query.deadline,
            origin=f"upload, key {caller().name}",
            webhook=query.webhook,
            when_full=WhenFull.STOP,
        )
        return submit(current_context().producer, submit_request)


@api.get("/<batch>", summary="Get the status of a batch", responses={200: BatchResponse})
@requires_scope(Scope.READ)
def get(path: BatchPath) -> Response:
    """Return the state, counts, rate and remaining time of a batch."""
    return _status_response(path.batch)


@api.get(
    "/<batch>/events",
    summary="Follow a batch",
    responses={
        200: {
            "description": "Events until the batch is final or the stream ends",
            "content": _EVENTS,
        }
    },
)
@requires_scope(Scope.READ)
def events(path: BatchPath) -> Response:
    """Send the progress of a batch as server-sent events.

    An event `progress` follows each change, an event `end` the last one. Their data is the
    response of `GET /v1/batches/{batch}`. If a stream ends without `end`, connect again after the
    time in its `retry` field, as an EventSource does.
    """
    context = current_context()
    return event_stream(batch_status(context.engine, path.batch, context.clock))


def event_stream(*current: BatchStatus) -> Response:
    """Return a response that follows these batches."""
    stream = current_context().streams.stream(current)
    response = Response(stream, content_type="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"  # nginx passes each event on at once
    return response


@api.post(
    "/<batch>/questions",
    summary="Append questions",
    responses={200: BatchResponse},
    openapi_extensions=_body(uploads.JSON_BODY, required=True),
)
@requires_scope(Scope.SUBMIT, recorded=True)
def append(path: BatchPath, query: AppendQuery) -> Response:
    """Append questions to an open batch: all of them or, after an error, none."""
    questions = [
        Question(position, item.key or "", item.question, item.language, item.metadata)
        for position, item in enumerate(uploads.json_questions().questions, 1)
    ]
    appending.append(current_context().producer, path.batch, questions, after=query.after)
    return _status_response(path.batch)


@api.post("/<batch>/seal", summary="Seal a batch", responses={200: BatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def seal(path: BatchPath) -> Response:
    """Close an open batch for further questions."""
    appending.seal(current_context().engine, path.batch)
    return _status_response(path.batch)


@api.post("/<batch>/cancel", summary="Cancel a batch", responses={200: BatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel(path: BatchPath) -> Response:
    """Cancel the questions that have not started. Results remain."""
    cancelling.cancel(current_context().engine, path.batch)
    return _status_response(path.batch)


@api.post("/<batch>/retry", summary="Retry questions of a batch", responses={200: RetryResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def retry(path: BatchPath, query: RetryQuery) -> Response:
    """Queue failed or handed-off questions again."""
    context, statuses = current_context(), [Status(query.status)]
    if query.dry_run:
        result = retrying.count_retry(context.engine, path.batch, statuses, only=query.error)
    else:
        result = retrying.retry(context.producer, path.batch, statuses, only=query.error)
    return jsonify(batch=result.batch.id, questions=result.questions, dry_run=result.dry_run)


def _status_response(ref: str) -> Response:
    context = current_context()
    return jsonify(batch_status(context.engine, ref, context.clock).document())
