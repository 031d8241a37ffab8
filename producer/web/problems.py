"""Error responses as `application/problem+json` (RFC 9457).

An `AnswermillError` keeps its message, except where the message names an address or a command.
Any other exception becomes a bare 500. Its message is not logged, because it may contain the
text of a question.
"""

from __future__ import annotations

import json
import re
import traceback
from http import HTTPStatus
from typing import NoReturn

import structlog
from flask import Flask, Response, abort, make_response, request
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed

from core.errors import (
    AnswermillError,
    BacklogFull,
    BatchClosed,
    BatchTooLarge,
    BatchUnknown,
    CountDiffers,
    DeliveryUnknown,
    EntryUnknown,
    ExtraMissing,
    FileUnknown,
    HandOffTaken,
    HandOffUnknown,
    KeyMissing,
    ModelUnknown,
    NameInvalid,
    PromotionRefused,
    ServiceUnavailable,
    SourceChanged,
    SourceInvalid,
    WebhookInvalid,
)

log = structlog.get_logger()

JSON = "application/problem+json"
RETRY_SECONDS = 5  # of Retry-After while a service is unavailable
# Status, field and hint of each error class. The most specific class applies.
_KINDS: dict[type[AnswermillError], tuple[int, str | None, str | None]] = {
    BatchUnknown: (404, "batch", "GET /v1/batches lists the newest batches"),
    BatchTooLarge: (413, "body", "split the questions into several batches"),
    HandOffUnknown: (404, "position", "GET /v1/desk/questions lists the waiting hand-offs"),
    HandOffTaken: (409, "position", "claim another hand-off"),
    EntryUnknown: (422, "entry_id", "GET /v1/desk/entries finds entries"),
    ModelUnknown: (404, "model", None),
    PromotionRefused: (409, "model", None),
    BatchClosed: (409, "batch", "GET the batch to see its state"),
    CountDiffers: (
        409,
        "after",
        "send only the missing questions, with `after` set to the size of the batch",
    ),
    ExtraMissing: (
        415,
        None,
        "this installation does not support Parquet; use CSV or JSON Lines",
    ),
    DeliveryUnknown: (404, "delivery", "GET /v1/batches/{batch}/deliveries lists the deliveries"),
    FileUnknown: (404, "id", None),
    KeyMissing: (503, None, None),
    NameInvalid: (422, "name", None),
    SourceChanged: (409, "name", "use another name or Idempotency-Key for other questions"),
    SourceInvalid: (422, "body", "nothing was stored; correct the body and send it again"),
    WebhookInvalid: (422, "webhook", "nothing was stored; use a URL that is publicly reachable"),
    ServiceUnavailable: (503, None, None),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CODES = (400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 429, 500, 503)


class Problem(BaseModel):
    """Describe an error."""

    title: str
    status: int
    detail: str
    field: str | None = None
    hint: str | None = None


def responses(*codes: int) -> ResponseDict:
    """Return the OpenAPI responses of these error statuses, by default all."""
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(code): {"description": HTTPStatus(code).phrase, "content": content}
        for code in codes or _CODES
    }


def problem(
    status: int, detail: str, *, field: str | None = None, hint: str | None = None, **headers: str
) -> Response:
    """Return an error response.

    A keyword such as `Retry_After` sets the header Retry-After.
    """
    title = HTTPStatus(status).phrase
    document = Problem(title=title, status=status, detail=detail, field=field, hint=hint)
    body = json.dumps(document.model_dump(exclude_none=True), ensure_ascii=False)
    response = Response(body, status, content_type=JSON)
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def refuse(
    status: int, detail: str, *, field: str | None = None, hint: str | None = None, **headers: str
) -> NoReturn:
    """Abort the request with an error response."""
    abort(problem(status, detail, field=field, hint=hint, **headers))


def invalid(error: ValidationError) -> Response:
    """Return a 422 response with the first fault of a request's values."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(_name(part) for part in first["loc"]) or "body"
    if first["type"] in {"model_type", "json_invalid"} and field == "body":
        hint = "send a JSON object with Content-Type: application/json"
        return make_response(problem(422, "the body is not a JSON object", field="body", hint=hint))
    return make_response(problem(422, first["msg"].removeprefix("Value error, "), field=field))


def _name(part: str | int) -> str:
    # A client may have sent the text of a question as a name: do not repeat that.
    name = str(part)
    return name if _NAME.fullmatch(name) else "unknown name"


def install(app: Flask) -> None:
    """Register the handlers that turn every error into a problem response."""
    app.register_error_handler(AnswermillError, _from_error)
    app.register_error_handler(HTTPException, _from_http_error)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(ClientDisconnected, cut_off)
    app.register_error_handler(Exception, _internal_error)


def _from_error(error: AnswermillError) -> Response:
    kind = next((_KINDS[parent] for parent in type(error).__mro__ if parent in _KINDS), None)
    if kind is None:
        return _internal_error(error)
    status, field, hint = kind
    if isinstance(error, BacklogFull):
        return _retry_later(429, str(error), error.retry_seconds)
    if isinstance(error, ServiceUnavailable):
        # The message names an internal address: log it only.
        log.warning("request postponed", route=route(), reason=str(error))
        return _retry_later(status, "a required service is unavailable", RETRY_SECONDS)
    if isinstance(error, KeyMissing):
        log.warning("request postponed", route=route(), reason=str(error))
        return problem(status, "stored texts are encrypted, and this server does not have the key")
    if isinstance(error, SourceInvalid) and error.row is not None:
        field = f"row {error.row}"
    return problem(status, _detail(error), field=field, hint=hint)


def _retry_later(status: int, detail: str, seconds: int) -> Response:
    hint = f"try again in {seconds} s"
    return problem(status, detail, hint=hint, Retry_After=str(seconds))


def _detail(error: AnswermillError) -> str:
    # Messages with hints for the command line are replaced.
    if isinstance(error, BatchUnknown):
        return f"no batch has the id or name {error.batch[:80]!r}"
    if isinstance(error, SourceChanged):
        return f"batch {error.batch} has this name and was created from other questions"
    if isinstance(error, BatchTooLarge):
        return (
            f"{error.questions:,} questions exceed the limit of {error.limit:,} waiting questions"
        )
    return str(error)


def _from_http_error(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    response = problem(error.code or 500, error.description or error.name)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(error.valid_methods)
    return response


def _too_deep(_error: RecursionError) -> Response:
    return problem(400, "the body is nested too deeply", field="body")


def cut_off(_error: Exception) -> Response:
    """Return a 400 response for an incomplete or malformed body."""
    return problem(400, "the body is incomplete, malformed or was sent too slowly", field="body")


def _internal_error(error: Exception) -> Response:
    frames = traceback.format_tb(error.__traceback__)
    log.error("request failed", route=route(), error=type(error).__name__, traceback=frames)
    return problem(500, "internal error; the server has logged it")


def route() -> str:
    """Return the method and route of the request, without its values."""
    return f"{request.method} {request.url_rule or 'none'}"
