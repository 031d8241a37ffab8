"""Sessions of the page: a signed cookie that names an API key, looked up on every request.

So a session can do what its key can now, and ends with it. The cookie holds nothing secret:
the key's number, the language and what protects forms from other sites' requests.
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

LIFE = timedelta(hours=12)  # since the last request
_BYTES = 32
_KEY = "key"

csrf = CSRFProtect()


class _Cookies(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 - Flask's signature
        return request.is_secure


def install(app: Flask, settings: Settings) -> None:
    """Let the app have sessions, signed by the secret of the settings."""
    app.config.update(
        SECRET_KEY=secret_of(settings),
        SESSION_COOKIE_NAME="answermill",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=LIFE,
        WTF_CSRF_CHECK_DEFAULT=False,  # the API takes no cookies: the page asks for it by itself
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
    )
    app.session_interface = _Cookies()
    csrf.init_app(app)


def secret_of(settings: Settings) -> str:
    """Return what signs sessions; where things are embedded it is made once, under HOME.

    Raises:
        SettingsInvalid: there is none, and nothing is embedded.
    """
    if settings.session_secret is not None:
        return settings.session_secret.get_secret_value()
    settings.require_embedded("SESSION_SECRET")
    file = settings.home / "session_secret"
    if not file.exists():
        _write_once(file, secrets.token_urlsafe(_BYTES))
    return file.read_text(encoding="ascii")


def _write_once(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="ascii") as part:
        part.write(content)  # for its owner alone, as all such files
        part.flush()
        with suppress(FileExistsError):  # another process was quicker
            os.link(part.name, file)


def begin(key: ApiKey) -> None:
    """Begin a session of this key; nothing of an earlier one stays but the language."""
    end()
    session.permanent = True
    session[_KEY] = key.id


def end() -> None:
    """End the session; the language stays."""
    language = session.get("language")
    session.clear()
    if language:
        session["language"] = language


def key() -> ApiKey | None:
    """Return the live key of the session."""
    key_id = session.get(_KEY)
    if key_id is None:
        return None
    s = current_context()
    now = s.clock()
    with reading(s.engine) as conn:
        return api_keys.live(conn, key_id, now)
