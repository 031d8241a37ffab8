"""Who may do what: API keys, scopes, rates, and the record of changes.

A view without a scope is refused, so that none is opened by forgetting one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from flask import Flask, Response, abort, current_app, g, redirect, request, url_for

from core.domain.api_key import ApiKey, Scope
from db.queries import api_keys, audit_log
from db.session import reading, transaction
from producer.web.auth import sessions
from producer.web.context import current_context
from producer.web.problems import refuse

_P = ParamSpec("_P")
_R = TypeVar("_R")

SCHEME = "key"  # in the OpenAPI document
PUBLIC = {"openapi", "swagger"}  # blueprints: the document and its pages
PAGE = "page"  # the blueprint that takes sessions, where all others take keys


def requires_scope(
    scope: Scope | None, *, recorded: bool = False, upload: bool = False
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Say what a view needs.

    Args:
        scope: what the key must open; None: everybody may call it.
        recorded: it changes something, so a row of `audit` is written.
        upload: its body may be as large as an upload.
    """

    def mark(view: Callable[_P, _R]) -> Callable[_P, _R]:
        view.__dict__.update(needs=(scope,), recorded=recorded, upload=upload)
        return view

    return mark


def install(app: Flask) -> None:
    """Let the app ask for keys and record changes."""
    app.before_request(_authorize)
    app.after_request(_audit_outcome)


def caller() -> ApiKey:
    """Return the key of the request."""
    found: ApiKey = g.key
    return found


def _authorize() -> None:
    if request.endpoint is None or request.blueprint in PUBLIC:
        return  # nobody is there, or everybody may look
    view = current_app.view_functions[request.endpoint]
    (scope,) = getattr(view, "needs", (Scope.ADMIN,))
    if scope is None:
        return
    g.key = key = _signed_in() if request.blueprint == PAGE else _key()
    if not key.opens(scope):
        refuse(403, f"this needs a key with the scope {scope}", field="Authorization")
    if wait := current_context().rates.wait_seconds(key):
        hint = f"try again in {wait} s"
        refuse(429, "too many requests with this key", hint=hint, Retry_After=str(wait))
    if getattr(view, "upload", False):
        request.max_content_length = current_context().settings.web_upload_bytes
    if getattr(view, "recorded", False):
        _audit(key)


def _key() -> ApiKey:
    given = request.authorization
    secret = given.token if given is not None and given.type == "bearer" else None
    key = None
    if secret and secret.startswith(api_keys.PREFIX):
        s = current_context()
        now = s.clock()
        with reading(s.engine) as conn:
            key = api_keys.find(conn, secret, now)
    if key is None:
        hint = "send Authorization: Bearer KEY; `answermill keys create` makes one"
        told = "no live key was sent"
        refuse(401, told, field="Authorization", hint=hint, WWW_Authenticate="Bearer")
    return key


def _signed_in() -> ApiKey:
    key = sessions.key()
    if key is None:
        goal = request.full_path.rstrip("?") if request.method == "GET" else None
        abort(redirect(url_for("page.sign_in", next=goal), 303))
    return key


def _audit(key: ApiKey) -> None:
    s = current_context()
    target = "/".join(str(value) for value in (request.view_args or {}).values())
    now = s.clock()
    with transaction(s.engine) as conn:
        g.note = audit_log.record(
            conn,
            actor=f"key {key.name}",
            action=str(request.endpoint),
            target=target if target.isprintable() else "",
            now=now,
        )


def _audit_outcome(response: Response) -> Response:
    note: int | None = g.get("note")
    if note is not None:
        with transaction(current_context().engine) as conn:
            audit_log.record_outcome(conn, note, response.status_code)
    return response
