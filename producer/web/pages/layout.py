"""What every view of the page shares: signing in, language, errors, what a page may load."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from flask import (
    Blueprint,
    Response,
    flash,
    g,
    redirect,
    render_template,
    request,
    send_from_directory,
    session,
    url_for,
)
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import ApiKey, Scope
from db.queries import api_keys, audit_log
from db.session import reading, transaction
from producer.web import problems
from producer.web.auth import sessions
from producer.web.auth.authorization import PAGE, requires_scope
from producer.web.context import current_context
from producer.web.pages.translation import LANGUAGES, language, translate

page = Blueprint(PAGE, __name__, template_folder="../templates")

# Nothing from elsewhere, nothing inline: what somebody smuggles into a text does not run.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATIC = "../static"
_KEPT = "public, max-age=86400"
_DIGITS = 8
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400  # seconds
# What each key sees first.
_FIRST = {
    Scope.READ: "page.batches",
    Scope.SUBMIT: "page.ask",
    Scope.DESK: "page.desk",
}

page.app_template_global("_")(translate)


@page.app_template_global()
def csrf() -> Markup:
    """Write the hidden field that proves that a form is ours."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


@page.app_template_global()
def asset(name: str) -> str:
    """Return where a file of ours is, under an address that changes with what is in it."""
    return url_for("page.static", name=name, v=_digest(name))


@cache
def _digest(name: str) -> str:
    content = (Path(page.root_path) / _STATIC / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


@page.app_template_global()
def here_in(code: str) -> str:
    """Return where this page is found in another language."""
    query = [(name, value) for name, value in request.args.items(multi=True) if name != "language"]
    return f"?{urlencode([*query, ('language', code)])}"


@page.before_request
def _protect() -> AnyResponse | None:
    chosen = request.args.get("language")
    if chosen in LANGUAGES:
        session.permanent = True
        session["language"] = chosen
    sessions.csrf.protect()
    return None


def _dress(response: Response) -> Response:
    if response.mimetype == problems.JSON:
        told = json.loads(response.get_data())
        response.set_data(render_template("problem.html", told=told))
        response.mimetype = "text/html"
    response.headers["Content-Security-Policy"] = _POLICY
    # Forms over TLS must be able to prove where they come from.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _shared() -> dict[str, object]:
    key: ApiKey | None = g.get("key")
    return {
        "caller": key,
        "may": lambda scope: key is not None and key.opens(Scope(scope)),
        "language": language(),
        "issuer": current_context().settings.oidc_issuer is not None,
        "other_languages": {code: name for code, name in LANGUAGES.items() if code != language()},
    }


def dress(views: Blueprint) -> None:
    """Let views be those of a page: what they refuse is one, too, and loads what a page may."""
    views.after_request(_dress)
    views.context_processor(_shared)


dress(page)


@page.app_template_filter()
def number(value: float) -> str:
    """Write a count, or a rate with the digits that matter."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


@page.app_template_filter()
def when(value: datetime) -> str:
    """Write a moment for people."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


@page.app_template_filter()
def duration(seconds: float) -> str:
    """Write how long something takes; `live.js` writes it in the same way."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} s"


@page.get("/static/<path:name>")
@requires_scope(None)
def static(name: str) -> Response:
    """Send a style sheet, a script or a picture."""
    told = send_from_directory(Path(page.root_path) / _STATIC, name)
    told.headers["Cache-Control"] = _KEPT
    return told


@page.get("/")
@requires_scope(None)
def home() -> AnyResponse:
    """Go to what the key opens first."""
    key = sessions.key()
    if key is None:
        return redirect(url_for("page.sign_in"))
    first = next(view for scope, view in _FIRST.items() if key.opens(scope))
    return redirect(url_for(first))


@page.get("/sign-in")
@requires_scope(None)
def sign_in() -> str:
    """Ask for a key."""
    return render_template("sign_in.html", next=_own(request.args.get("next")), refused=False)


@page.post("/sign-in")
@requires_scope(None)
def begin() -> AnyResponse | tuple[str, int]:
    """Begin a session."""
    s, secret = current_context(), request.form.get("key", "").strip()
    now = s.clock()
    with reading(s.engine) as conn:
        key = api_keys.find(conn, secret, now) if secret.startswith(api_keys.PREFIX) else None
    goal = _own(request.form.get("next"))
    if key is None:
        return render_template("sign_in.html", next=goal, refused=True), 401
    sessions.begin(key)
    with transaction(s.engine) as conn:
        actor = f"key {key.name}"
        audit_log.record(conn, actor=actor, action="page.sign_in", target="", now=now, status=303)
    return redirect(goal or url_for("page.home"), 303)


@page.post("/sign-out")
@requires_scope(None)
def sign_out() -> AnyResponse:
    """End the session."""
    sessions.end()
    flash(translate("You are signed out."))
    return redirect(url_for("page.sign_in"), 303)


def _own(path: str | None) -> str:
    """Return a path of ours to go to; whatever else was asked for is forgotten."""
    if not path or not path.startswith("/") or "\\" in path or not path.isprintable():
        return ""
    parts = urlsplit(path)
    return "" if parts.netloc or parts.scheme or path.startswith("//") else path
