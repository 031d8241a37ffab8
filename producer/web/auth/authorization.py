"""Authorization: API keys, scopes, rate limits and the audit log.

A view without `requires_scope` needs the scope `admin`, so a forgotten decorator opens nothing.

Not covered: the session cookies of the pages (`sessions`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

from flask import Flask, Response, abort, current_app, g, redirect, request, url_for

from core.domain.api_key import ApiKey, Scope
from db.queries import api_keys, audit_log
from db.session import reading, transaction
from producer.web.auth import sessions
from producer.web.context import current_context
from producer.web.problems import refuse

_P = ParamSpec("_P")
_R = TypeVar("_R")

SCHEME = "key"  # security scheme of the OpenAPI document
PUBLIC = {"openapi", "swagger"}  # blueprints of the OpenAPI document and its pages
PAGE = "page"  # the blueprint that uses sessions; all others use API keys


def requires_scope(
    scope: Scope | None, *, recorded: bool = False, upload: bool = False
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Declare the scope that a view requires.

    Args:
        scope: the scope that the API key must have; None: the view is public.
        recorded: the view changes data, so each call is written to the audit log.
        upload: the body may have the size of an upload.
    """

    def mark(view: Callable[_P, _R]) -> Callable[_P, _R]:
        view.__dict__.update(required_scope=(scope,), recorded=recorded, upload=upload)
        return view

    return mark


def install(app: Flask) -> None:
    """Make the app authorize every request and record changes."""
    app.before_request(_authorize)
    app.after_request(_audit_outcome)


def caller() -> ApiKey:
    """Return the API key of the request."""
    key: ApiKey = g.key
    return key


def _authorize() -> None:
    if request.endpoint is None or request.blueprint in PUBLIC:
        return  # an unknown route ends in 404
    view = current_app.view_functions[request.endpoint]
    (scope,) = getattr(view, "required_scope", (Scope.ADMIN,))
    if scope is None:
        return
    g.key = key = _session_key() if request.blueprint == PAGE else _bearer_key()
    if not key.allows(scope):
        detail = f"this request requires an API key with the scope {scope}"
        refuse(403, detail, field="Authorization")
    if wait := current_context().rates.wait_seconds(key):
        hint = f"try again in {wait} s"
        refuse(429, "too many requests with this API key", hint=hint, Retry_After=str(wait))
    if getattr(view, "upload", False):
        request.max_content_length = current_context().settings.web_upload_bytes
    if getattr(view, "recorded", False):
        _audit(key)


def _bearer_key() -> ApiKey:
    header = request.authorization
    secret = header.token if header is not None and header.type == "bearer" else None
    if not secret:
        _refuse_key("missing API key", "send the header `Authorization: Bearer KEY`")
    key = find_key(secret)
    if key is None:
        hint = "`answermill keys list` shows the keys, `answermill keys create` creates one"
        _refuse_key("this API key is unknown, expired or revoked", hint)
    return key


def _refuse_key(detail: str, hint: str) -> NoReturn:
    refuse(401, detail, field="Authorization", hint=hint, WWW_Authenticate="Bearer")


def find_key(secret: str) -> ApiKey | None:
    """Return the live API key with this secret."""
    if not secret.startswith(api_keys.PREFIX):
        return None
    context = current_context()
    now = context.clock()
    with reading(context.engine) as conn:
        return api_keys.find(conn, secret, now)


def _session_key() -> ApiKey:
    key = sessions.key()
    if key is None:
        path = request.full_path.rstrip("?") if request.method == "GET" else None
        abort(redirect(url_for("page.sign_in", next=path), 303))
    return key


def _audit(key: ApiKey) -> None:
    context = current_context()
    target = "/".join(str(value) for value in (request.view_args or {}).values())
    now = context.clock()
    with transaction(context.engine) as conn:
        g.audit_id = audit_log.record(
            conn,
            actor=f"key {key.name}",
            action=str(request.endpoint),
            target=target if target.isprintable() else "",
            now=now,
        )


def _audit_outcome(response: Response) -> Response:
    audit_id: int | None = g.get("audit_id")
    if audit_id is not None:
        with transaction(current_context().engine) as conn:
            audit_log.record_outcome(conn, audit_id, response.status_code)
    return response
