"""Errors as `application/problem+json` (RFC 9457): what is wrong, where, and what helps.

Our own errors are told in their own sentence; what is our bug is logged by Flask and told
as a bare 500, without a trace of what caused it.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Flask, Response, make_response
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException

from db.errors import (
    AnswermillError,
    BatchClosed,
    BatchUnknown,
    NameInvalid,
    ServiceAway,
    SourceChanged,
    SourceInvalid,
)

_RETRY_SECONDS = 5
_AWAY_HINT = f"try again in {_RETRY_SECONDS} s"
# The status, the field at fault and what helps; the most special class decides.
_KINDS: dict[type[AnswermillError], tuple[int, str | None, str | None]] = {
    BatchUnknown: (404, "batch", "GET /v1/batches lists them"),
    BatchClosed: (409, "batch", None),
    NameInvalid: (422, "name", None),
    SourceChanged: (409, "name", "give these questions another name"),
    SourceInvalid: (422, "body", None),
    ServiceAway: (503, None, _AWAY_HINT),
}


class Problem(BaseModel):
    """What went wrong."""

    title: str
    status: int
    detail: str
    field: str | None = None
    hint: str | None = None


RESPONSES = {
    code: {"description": phrase, "content": {"application/problem+json": {}}}
    for code, phrase in ((s.value, s.phrase) for s in HTTPStatus)
    if code in {400, 403, 404, 405, 409, 411, 413, 415, 422, 500, 503}
}


def problem(
    status: int, detail: str, *, field: str | None = None, hint: str | None = None
) -> Response:
    """Return the response that tells of a problem."""
    told = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, field=field, hint=hint
    )
    body = json.dumps(told.model_dump(exclude_none=True), ensure_ascii=False)
    return Response(body, status, content_type="application/problem+json")


def invalid(error: ValidationError) -> Response:
    """Tell the first thing that a request's values have wrong."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "body"
    return make_response(problem(422, first["msg"], field=field))


def install(app: Flask) -> None:
    """Let the app tell every error so."""
    app.register_error_handler(AnswermillError, _ours)
    app.register_error_handler(HTTPException, _http)


def _ours(error: AnswermillError) -> Response:
    kind = next((_KINDS[c] for c in type(error).__mro__ if c in _KINDS), None)
    if kind is None:
        raise error
    status, field, hint = kind
    # What a service's error says names its address: that is for the log.
    detail = "a service is away" if isinstance(error, ServiceAway) else str(error)
    told = problem(status, detail, field=field, hint=hint)
    if isinstance(error, ServiceAway):
        told.headers["Retry-After"] = str(_RETRY_SECONDS)
    return told


def _http(error: HTTPException) -> Response:
    return problem(error.code or 500, error.description or error.name)
