"""Errors as `application/problem+json` (RFC 9457): what is wrong, in which field, what helps.

Our own errors are told in their own sentence. What is our bug is told as a bare 500 and
logged without its message, which may hold a question's text.
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
AWAY_SECONDS = 5
# The status, the field at fault and what helps; the most special class decides.
_KINDS: dict[type[AnswermillError], tuple[int, str | None, str | None]] = {
    BatchUnknown: (404, "batch", "GET /v1/batches lists the newest"),
    BatchTooLarge: (413, "body", "send it in parts"),
    HandOffUnknown: (404, "position", "GET /v1/desk/questions lists what waits"),
    HandOffTaken: (409, "position", "take another one"),
    EntryUnknown: (422, "entry_id", "GET /v1/desk/entries finds entries"),
    ModelUnknown: (404, "model", None),
    PromotionRefused: (409, "model", None),
    BatchClosed: (409, "batch", "GET the batch tells where it stands"),
    CountDiffers: (409, "after", "send what is missing, with the number that it has"),
    ExtraMissing: (
        415,
        None,
        "this installation takes and writes no Parquet; use CSV or JSON lines",
    ),
    DeliveryUnknown: (404, "delivery", "GET the batch's deliveries lists them"),
    FileUnknown: (404, "id", None),
    KeyMissing: (503, None, None),
    NameInvalid: (422, "name", None),
    SourceChanged: (409, "name", "give other questions another name or Idempotency-Key"),
    SourceInvalid: (422, "body", "nothing was stored; mend it and send it again"),
    WebhookInvalid: (422, "webhook", "nothing was stored; give one that others can reach"),
    ServiceUnavailable: (503, None, None),
}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CODES = (400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 429, 500, 503)


class Problem(BaseModel):
    """What went wrong."""

    title: str
    status: int
    detail: str
    field: str | None = None
    hint: str | None = None


def responses(*codes: int) -> ResponseDict:
    """Return what the OpenAPI document says of problems of these statuses, of all by default."""
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(code): {"description": HTTPStatus(code).phrase, "content": content}
        for code in codes or _CODES
    }


def problem(
    status: int, detail: str, *, field: str | None = None, hint: str | None = None, **headers: str
) -> Response:
    """Return the response that tells of a problem; `Retry_After` is the header Retry-After."""
    title = HTTPStatus(status).phrase
    told = Problem(title=title, status=status, detail=detail, field=field, hint=hint)
    body = json.dumps(told.model_dump(exclude_none=True), ensure_ascii=False)
    response = Response(body, status, content_type=JSON)
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def refuse(
    status: int, detail: str, *, field: str | None = None, hint: str | None = None, **headers: str
) -> NoReturn:
    """End the request with a problem."""
    abort(problem(status, detail, field=field, hint=hint, **headers))


def invalid(error: ValidationError) -> Response:
    """Tell the first thing that a request's values have wrong."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(_name(part) for part in first["loc"]) or "body"
    if first["type"] in {"model_type", "json_invalid"} and field == "body":
        hint = "send a JSON object with Content-Type: application/json"
        return make_response(problem(422, "the body is no JSON object", field="body", hint=hint))
    return make_response(problem(422, first["msg"].removeprefix("Value error, "), field=field))


def _name(part: str | int) -> str:
    """Return a name as it is told: what was sent in the place of one may be a text."""
    told = str(part)
    return told if _NAME.fullmatch(told) else "unknown name"


def install(app: Flask) -> None:
    """Let the app tell every error so."""
    app.register_error_handler(AnswermillError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(ClientDisconnected, cut_off)
    app.register_error_handler(Exception, _bug)


def _ours(error: AnswermillError) -> Response:
    kind = next((_KINDS[c] for c in type(error).__mro__ if c in _KINDS), None)
    if kind is None:
        return _bug(error)
    status, field, hint = kind
    if isinstance(error, BacklogFull):
        return _later(429, str(error), error.retry_seconds)
    if isinstance(error, ServiceUnavailable):
        # What it says names an address: that is for the log.
        log.warning("request put off", route=route(), error=str(error))
        return _later(status, "a service that this needs is away", AWAY_SECONDS)
    if isinstance(error, KeyMissing):
        log.warning("request put off", route=route(), error=str(error))
        return problem(status, "what is stored is encrypted, and the key is not here")
    if isinstance(error, SourceInvalid) and error.row is not None:
        field = f"row {error.row}"
    return problem(status, _sentence(error), field=field, hint=hint)


def _later(status: int, detail: str, seconds: int) -> Response:
    hint = f"try again in {seconds} s"
    return problem(status, detail, hint=hint, Retry_After=str(seconds))


def _sentence(error: AnswermillError) -> str:
    # The command line's hints are of no use here.
    if isinstance(error, BatchUnknown):
        return f"no batch has the id or name {error.batch[:80]!r}"
    if isinstance(error, SourceChanged):
        return f"batch {error.batch} has that name and was made of other questions"
    if isinstance(error, BatchTooLarge):
        return f"{error.questions:,} questions are more than may wait at once, {error.limit:,}"
    return str(error)


def _http(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    told = problem(error.code or 500, error.description or error.name)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        told.headers["Allow"] = ", ".join(error.valid_methods)
    return told


def _too_deep(_error: RecursionError) -> Response:
    return problem(400, "the body is nested too deeply", field="body")


def cut_off(_error: Exception) -> Response:
    """Tell that the body did not come as it was announced, or not in time."""
    return problem(400, "the body is cut off, broken or too slow", field="body")


def _bug(error: Exception) -> Response:
    frames = traceback.format_tb(error.__traceback__)
    log.error("request failed", route=route(), error=type(error).__name__, traceback=frames)
    return problem(500, "this is a fault of ours; it was logged")


def route() -> str:
    """Return the request's method and route, without what the caller put into it."""
    return f"{request.method} {request.url_rule or 'none'}"
