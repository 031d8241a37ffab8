"""The parts that all pages share: sign-in, language, errors, policy.

The blueprint `page` has all pages. Its views use sessions and CSRF tokens.
"""

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
from db.queries import audit_log
from db.session import transaction
from producer.web import problems
from producer.web.auth import sessions
from producer.web.auth.authorization import PAGE, find_key, requires_scope
from producer.web.context import current_context
from producer.web.pages.translation import LANGUAGES, language, translate

page = Blueprint(PAGE, __name__, template_folder="../templates")

# No foreign and no inline resources: a script that is injected into a text does not run.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATIC = "../static"
_CACHE_CONTROL = "public, max-age=86400"
_DIGEST_DIGITS = 8
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400  # seconds
# The home page, by the first scope of the key.
_HOME_PAGES = {
    Scope.READ: "page.batches",
    Scope.SUBMIT: "page.ask",
    Scope.DESK: "page.desk",
}

page.app_template_global("_")(translate)


@page.app_template_global()
def csrf() -> Markup:
    """Return the hidden form field with the CSRF token."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


@page.app_template_global()
def asset(name: str) -> str:
    """Return the URL of a static file, with a digest of its content."""
    return url_for("page.static", name=name, v=_digest(name))


@cache
def _digest(name: str) -> str:
    content = (Path(page.root_path) / _STATIC / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]


@page.app_template_global()
def url_in_language(code: str) -> str:
    """Return the URL of this page in another language."""
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


def _finish_response(response: Response) -> Response:
    if response.mimetype == problems.JSON:
        problem = json.loads(response.get_data())
        response.set_data(render_template("problem.html", problem=problem))
        response.mimetype = "text/html"
    response.headers["Content-Security-Policy"] = _POLICY
    # The CSRF check of forms over TLS needs the Referer header.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _template_variables() -> dict[str, object]:
    key: ApiKey | None = g.get("key")
    return {
        "caller": key,
        "may": lambda scope: key is not None and key.allows(Scope(scope)),
        "language": language(),
        "issuer": current_context().settings.oidc_issuer is not None,
        "other_languages": {code: name for code, name in LANGUAGES.items() if code != language()},
    }


def use_layout(views: Blueprint) -> None:
    """Give a blueprint the variables, error pages and policy of the pages."""
    views.after_request(_finish_response)
    views.context_processor(_template_variables)


use_layout(page)


@page.app_template_filter()
def number(value: float) -> str:
    """Format a count, or a rate with one decimal."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


@page.app_template_filter()
def when(value: datetime) -> str:
    """Format a time in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


@page.app_template_filter()
def duration(seconds: float) -> str:
    """Format a duration, as `live.js` does."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} s"


@page.get("/static/<path:name>")
@requires_scope(None)
def static(name: str) -> Response:
    """Send a style sheet, a script or an image."""
    response = send_from_directory(Path(page.root_path) / _STATIC, name)
    response.headers["Cache-Control"] = _CACHE_CONTROL
    return response


@page.get("/")
@requires_scope(None)
def home() -> AnyResponse:
    """Redirect to the home page of the key."""
    key = sessions.key()
    if key is None:
        return redirect(url_for("page.sign_in"))
    first = next(view for scope, view in _HOME_PAGES.items() if key.allows(scope))
    return redirect(url_for(first))


@page.get("/sign-in")
@requires_scope(None)
def sign_in() -> str:
    """Show the sign-in form."""
    return render_template(
        "sign_in.html", next=_local_path(request.args.get("next")), refused=False
    )


@page.post("/sign-in")
@requires_scope(None)
def begin() -> AnyResponse | tuple[str, int]:
    """Begin a session with an API key."""
    key = find_key(request.form.get("key", "").strip())
    path = _local_path(request.form.get("next"))
    if key is None:
        return render_template("sign_in.html", next=path, refused=True), 401
    sessions.begin(key)
    context, actor = current_context(), f"key {key.name}"
    now = context.clock()
    with transaction(context.engine) as conn:
        audit_log.record(conn, actor=actor, action="page.sign_in", target="", now=now, status=303)
    return redirect(path or url_for("page.home"), 303)


@page.post("/sign-out")
@requires_scope(None)
def sign_out() -> AnyResponse:
    """End the session."""
    sessions.end()
    flash(translate("You have signed out."))
    return redirect(url_for("page.sign_in"), 303)


def _local_path(path: str | None) -> str:
    """Return the path if it is on this site, else an empty string."""
    if not path or not path.startswith("/") or "\\" in path or not path.isprintable():
        return ""
    parts = urlsplit(path)
    return "" if parts.netloc or parts.scheme or path.startswith("//") else path
