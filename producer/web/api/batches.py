"""`/v1/batches`: submit, append, seal, follow, cancel, retry.

What comes in one request is checked whole before any of it is stored. Sent again with the
same Idempotency-Key or the same name, it goes on where it was interrupted.
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
from producer.submission.submit import SubmitResult, submit
from producer.web import problems
from producer.web.api import uploads
from producer.web.api.schemas import (
    AppendQuery,
    BatchesResponse,
    BatchPath,
    BatchResponse,
    CreateBatchQuery,
    CreatedBatch,
    ListBatchesQuery,
    RetryQuery,
    RetryResponse,
)
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.auth.idempotency import Idempotency, token_of
from producer.web.context import current_context
from producer.webhooks.signed_post import target_of

api = APIBlueprint(
    "batches",
    __name__,
    url_prefix="/v1/batches",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

_CREATED: ResponseDict = {
    200: CreatedBatch,
    201: {
        "description": "Stored",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Created"}}},
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
}

_EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


def _body(content: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}


@api.get("", summary="List batches", responses={200: BatchesResponse})
@requires_scope(Scope.READ)
def listing(query: ListBatchesQuery) -> Response:
    """Tell where the newest batches stand."""
    found = newest(current_context().engine, query.limit, query.before)
    return jsonify(batches=[one.document() for one in found])


@api.post(
    "",
    summary="Submit a batch",
    responses=_CREATED,
    openapi_extensions=_body(uploads.BODY, required=False),
)
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def create(header: Idempotency, query: CreateBatchQuery) -> Response:
    """Store the body's questions as a batch; or open an empty one that takes questions later."""
    _check_webhook(query.webhook)
    token = token_of(header) or uuid.uuid4().hex
    name = checked_name(query.name) if query.name is not None else f"http-{token}"
    done = _opened(query, name) if query.open else _submitted(query, name)
    told = jsonify(done.document())
    told.status_code = 200 if done.already else 201
    told.headers["Location"] = url_for("batches.get", batch=done.batch.id)
    return told


def _check_webhook(url: str | None) -> None:
    if url is None:
        return
    settings = current_context().settings
    if not settings.signing_keys:
        problems.refuse(422, "this installation sends no webhooks", field="webhook")
    target_of(url, private=settings.webhook_private)


def _opened(query: CreateBatchQuery, name: str) -> SubmitResult:
    if request.content_length:
        problems.refuse(422, "a batch that is opened has no questions yet", field="body")
    source = f"opened, key {caller().name}"
    deadline = query.deadline
    found = appending.open_batch(
        current_context().engine,
        name=name,
        source=source,
        lane=query.lane,
        deadline=deadline,
        webhook=query.webhook,
    )
    return SubmitResult(
        found, found.question_count, resumed=False, already=found.question_count > 0
    )


def _submitted(query: CreateBatchQuery, name: str) -> SubmitResult:
    s = current_context()
    with uploads.received(query.text, query.key) as checked:
        return submit(
            s.engine,
            s.client,
            s.settings,
            checked,
            name=name,
            lane=query.lane,
            deadline=query.deadline,
            origin=f"upload, key {caller().name}",
            webhook=query.webhook,
            when_full=WhenFull.STOP,
        )


@api.get("/<batch>", summary="Where a batch stands", responses={200: BatchResponse})
@requires_scope(Scope.READ)
def get(path: BatchPath) -> Response:
    """Tell its state, its counts by status, its rate and when it will be done."""
    return _standing(path.batch)


@api.get(
    "/<batch>/events",
    summary="Follow a batch",
    responses={200: {"description": "Until it is final, or for a while", "content": _EVENTS}},
)
@requires_scope(Scope.READ)
def events(path: BatchPath) -> Response:
    """Send server-sent events: `progress` with each change, `end` when the batch is final.

    Their data is what `GET /v1/batches/{batch}` tells. A stream that ends without `end` is to
    be asked for again, after as long as its `retry` says: event sources do so by themselves.
    """
    s = current_context()
    return streamed(batch_status(s.engine, path.batch, s.clock))


def streamed(*first: BatchStatus) -> Response:
    """Return the response that follows these batches."""
    told = Response(current_context().streams.stream(first), content_type="text/event-stream")
    told.headers["X-Accel-Buffering"] = "no"  # a proxy must pass events on as they come
    return told


@api.post(
    "/<batch>/questions",
    summary="Append questions",
    responses={200: BatchResponse},
    openapi_extensions=_body(uploads.JSON_BODY, required=True),
)
@requires_scope(Scope.SUBMIT, recorded=True)
def append(path: BatchPath, query: AppendQuery) -> Response:
    """Add all of the questions to an open batch, or none."""
    s = current_context()
    asked = [
        Question(n, one.key or "", one.question, one.language, one.metadata)
        for n, one in enumerate(uploads.asked().questions, 1)
    ]
    appending.append(s.engine, s.client, s.settings, path.batch, asked, after=query.after)
    return _standing(path.batch)


@api.post("/<batch>/seal", summary="Seal a batch", responses={200: BatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def seal(path: BatchPath) -> Response:
    """Say that all questions of an open batch are in."""
    appending.seal(current_context().engine, path.batch)
    return _standing(path.batch)


@api.post("/<batch>/cancel", summary="Cancel a batch", responses={200: BatchResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel(path: BatchPath) -> Response:
    """Cancel what has not started; finished results stay."""
    cancelling.cancel(current_context().engine, path.batch)
    return _standing(path.batch)


@api.post("/<batch>/retry", summary="Retry a batch's questions", responses={200: RetryResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def retry(path: BatchPath, query: RetryQuery) -> Response:
    """Let questions that failed, or were handed off, run again."""
    s, statuses = current_context(), [Status(query.status)]
    if query.dry_run:
        done = retrying.count_retry(s.engine, path.batch, statuses, only=query.error)
    else:
        done = retrying.retry(
            s.engine, s.client, s.settings, path.batch, statuses, only=query.error
        )
    return jsonify(batch=done.batch.id, questions=done.questions, dry_run=done.dry_run)


def _standing(ref: str) -> Response:
    return jsonify(batch_status(current_context().engine, ref, current_context().clock).document())
