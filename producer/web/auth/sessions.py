"""Sessions of the pages: a signed cookie with the id of an API key.

Every request looks the key up, so a session has the current scopes of its key and ends with
the key. The cookie contains no secret: the id of the key, the language and the CSRF token.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFProtect

from core.domain.api_key import ApiKey
from core.settings.settings import Settings
from db.queries import api_keys
from db.session import reading
from producer.web.context import current_context

LIFE = timedelta(hours=12)  # from the last request
_SECRET_BYTES = 32
_KEY = "key"

csrf = CSRFProtect()


class SessionCookies(SecureCookieSessionInterface):
    """Session cookies that are `Secure` when the request came over TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 - Flask's signature
        """Return True if the cookie of this response must be `Secure`."""
        return request.is_secure


def install(app: Flask, settings: Settings) -> None:
    """Make the app use sessions signed with the secret of the settings."""
    app.config.update(
        SECRET_KEY=secret_of(settings),
        SESSION_COOKIE_NAME="answermill",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=LIFE,
        WTF_CSRF_CHECK_DEFAULT=False,  # the API uses no cookies; the pages call `csrf.protect`
        WTF_CSRF_TIME_LIMIT=None,  # valid as long as the session
    )
    app.session_interface = SessionCookies()
    csrf.init_app(app)


def secret_of(settings: Settings) -> str:
    """Return the secret that signs sessions.

    With an embedded database or Redis, the first call creates the secret under HOME.

    Raises:
        SettingsInvalid: no secret is set, and none may be created.
    """
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value()
    settings.require_embedded("SESSION_SECRET")
    file = settings.home / "session_secret"
    if not file.exists():
        _write_once(file, secrets.token_urlsafe(_SECRET_BYTES))
    return file.read_text(encoding="ascii")


def _write_once(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="ascii") as part:
        part.write(content)  # temporary files are readable by their owner only
        part.flush()
        with suppress(FileExistsError):  # another process created the secret first
            os.link(part.name, file)


def begin(key: ApiKey) -> None:
    """Begin a session with this key, in the current language."""
    end()
    session.permanent = True
    session[_KEY] = key.id


def end() -> None:
    """End the session. The language remains."""
    language = session.get("language")
    session.clear()
    if language:
        session["language"] = language


def key() -> ApiKey | None:
    """Return the API key of the session, or None if it is missing or not live."""
    key_id = session.get(_KEY)
    if key_id is None:
        return None
    context = current_context()
    now = context.clock()
    with reading(context.engine) as conn:
        return api_keys.find_by_id(conn, key_id, now)
