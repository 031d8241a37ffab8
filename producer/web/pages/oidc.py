"""Sign-in through OpenID Connect, as an option: an issuer says who somebody is.

The code flow with PKCE, state and nonce, by Authlib; of the identity token the signature, the
issuer, the audience, the nonce and the times are checked
(https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation). What somebody may do
is told by a claim of it, as the settings say. They get a key of their own, whose secret nobody
has and which ends with the session, so that what the issuer takes away is gone at the next
sign-in; `answermill keys revoke NAME` keeps somebody out for good.
"""

from __future__ import annotations

from typing import Any, NoReturn

import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Blueprint, Flask, current_app, redirect, url_for
from joserfc.errors import JoseError
from requests.exceptions import RequestException
from werkzeug.wrappers import Response

from core.domain.api_key import Scope
from core.errors import SettingsInvalid
from core.settings.settings import Settings
from db.queries import api_keys, audit_log
from db.session import transaction
from producer.web.auth import sessions
from producer.web.auth.authorization import requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import dress
from producer.web.problems import AWAY_SECONDS, refuse

log = structlog.get_logger()

oidc = Blueprint("oidc", __name__, url_prefix="/sign-in/oidc")
dress(oidc)  # browsers come here

_SECONDS = 10  # for the issuer to answer in
_WANTED = ("oidc_client_id", "oidc_client_secret", "oidc_scopes", "web_url")
_CLIENT = "answermill.oidc"


def install(app: Flask, settings: Settings) -> None:
    """Let people sign in through the issuer of the settings.

    Raises:
        SettingsInvalid: something that it takes is not set.
    """
    missing = [name for name in _WANTED if getattr(settings, name) is None]
    if missing or settings.oidc_client_secret is None:
        told = "not set, and ANSWERMILL_OIDC_ISSUER is"
        raise SettingsInvalid([f"ANSWERMILL_{name.upper()}: {told}" for name in missing])
    issuer = str(settings.oidc_issuer).rstrip("/")
    app.extensions[_CLIENT] = OAuth(app).register(
        "issuer",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid",
            "code_challenge_method": "S256",
            "default_timeout": _SECONDS,
        },
    )
    app.register_blueprint(oidc)


@oidc.get("")
@requires_scope(None)
def begin() -> Response:
    """Send the browser to the issuer."""
    back = f"{str(current_context().settings.web_url).rstrip('/')}{url_for('oidc.back')}"
    try:
        found: Response = _client().authorize_redirect(back)
    except (RequestException, RuntimeError, ValueError) as error:
        _away(error)
    return found


@oidc.get("/back")
@requires_scope(None)
def back() -> Response:
    """Begin a session for whom the issuer names."""
    settings = current_context().settings
    issuer = str(settings.oidc_issuer)
    wanted = {
        "iss": {"essential": True, "values": [issuer, issuer.rstrip("/")]},
        "aud": {"essential": True, "value": settings.oidc_client_id},
    }
    try:
        token = _client().authorize_access_token(claims_options=wanted, leeway=30)
    except (AuthlibBaseError, JoseError, KeyError, ValueError) as error:
        log.warning("sign-in refused", error=type(error).__name__)
        refuse(403, "the issuer has not said who you are", hint="sign in again")
    except RequestException as error:
        _away(error)
    claims: dict[str, Any] = token.get("userinfo") or {}
    scopes = scopes_of(claims, settings)
    if not claims.get("sub") or not scopes:
        log.warning("sign-in refused", error="no scope")
        refuse(403, "you may do nothing here", hint="ask who runs this for access")
    now = current_context().clock()
    with transaction(current_context().engine) as conn:
        ends = now + sessions.LIFE
        name = f"oidc:{claims['sub']}"
        key = api_keys.sign_in(conn, name, scopes, expires_at=ends, now=now)
        status = 403 if key is None else 302
        actor = f"key {name}"
        audit_log.record(
            conn, actor=actor, action="page.sign_in", target="", now=now, status=status
        )
    if key is None:
        refuse(403, "you were shut out here")
    sessions.begin(key)
    return redirect(url_for("page.home"))


def scopes_of(claims: dict[str, Any], settings: Settings) -> frozenset[Scope]:
    """Return what the claim opens."""
    told = claims.get(settings.oidc_claim)
    groups = {told} if isinstance(told, str) else set(told) if isinstance(told, list) else set()
    return frozenset(Scope(scope) for scope, group in settings.oidc_groups if group in groups)


def _client() -> Any:  # noqa: ANN401 - Authlib has no annotations
    return current_app.extensions[_CLIENT]


def _away(error: Exception) -> NoReturn:
    log.warning("request put off", route="sign-in", error=type(error).__name__)
    refuse(503, "the issuer is away", Retry_After=str(AWAY_SECONDS))
