"""Optional sign-in through an OpenID Connect issuer.

Authlib runs the code flow with PKCE, state and nonce. It checks the signature, issuer, audience,
nonce and times of the identity token
(https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation). The settings map the
values of a claim to scopes. Each sign-in creates an API key that ends with the session and whose
secret is discarded, so a right that the issuer removes ends at the next sign-in.
`answermill keys revoke NAME` blocks a user permanently.
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

from core.domain.api_key import ApiKey, Scope
from core.errors import SettingsInvalid
from core.settings.settings import Settings
from db.queries import api_keys, audit_log
from db.session import transaction
from producer.web.auth import sessions
from producer.web.auth.authorization import requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import use_layout
from producer.web.problems import RETRY_SECONDS, refuse

log = structlog.get_logger()

oidc = Blueprint("oidc", __name__, url_prefix="/sign-in/oidc")
use_layout(oidc)

_TIMEOUT_SECONDS = 10  # of requests to the issuer
_LEEWAY_SECONDS = 30  # for clocks that differ
_REQUIRED = ("oidc_client_id", "oidc_client_secret", "oidc_scopes", "web_url")
_CLIENT = "answermill.oidc"


def install(app: Flask, settings: Settings) -> None:
    """Make the app offer sign-in through the issuer of the settings.

    Raises:
        SettingsInvalid: a required setting is missing.
    """
    missing = [name for name in _REQUIRED if getattr(settings, name) is None]
    if missing or settings.oidc_client_secret is None:
        fault = "not set, but required with ANSWERMILL_OIDC_ISSUER"
        raise SettingsInvalid([f"ANSWERMILL_{name.upper()}: {fault}" for name in missing])
    issuer = str(settings.oidc_issuer).rstrip("/")
    app.extensions[_CLIENT] = OAuth(app).register(
        "issuer",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid",
            "code_challenge_method": "S256",
            "default_timeout": _TIMEOUT_SECONDS,
        },
    )
    app.register_blueprint(oidc)


@oidc.get("")
@requires_scope(None)
def begin() -> Response:
    """Redirect the browser to the issuer."""
    callback = f"{str(current_context().settings.web_url).rstrip('/')}{url_for('oidc.back')}"
    try:
        response: Response = _client().authorize_redirect(callback)
    except (RequestException, RuntimeError, ValueError) as error:
        _refuse_unavailable(error)
    return response


@oidc.get("/back")
@requires_scope(None)
def back() -> Response:
    """Begin a session for the user that the issuer has identified."""
    claims = _claims()
    scopes = scopes_of(claims, current_context().settings)
    if not claims.get("sub") or not scopes:
        log.warning("sign-in refused", error="no scope")
        refuse(403, "your account has no access here", hint="ask an administrator for access")
    key = _create_key(f"oidc:{claims['sub']}", scopes)
    if key is None:
        refuse(403, "an administrator has blocked your account")
    sessions.begin(key)
    return redirect(url_for("page.home"))


def _claims() -> dict[str, Any]:
    settings = current_context().settings
    issuer = str(settings.oidc_issuer)
    options = {
        "iss": {"essential": True, "values": [issuer, issuer.rstrip("/")]},
        "aud": {"essential": True, "value": settings.oidc_client_id},
    }
    try:
        token = _client().authorize_access_token(claims_options=options, leeway=_LEEWAY_SECONDS)
    except (AuthlibBaseError, JoseError, KeyError, ValueError) as error:
        log.warning("sign-in refused", error=type(error).__name__)
        refuse(403, "the sign-in was not completed", hint="sign in again")
    except RequestException as error:
        _refuse_unavailable(error)
    return token.get("userinfo") or {}


def _create_key(name: str, scopes: frozenset[Scope]) -> ApiKey | None:
    context = current_context()
    now = context.clock()
    with transaction(context.engine) as conn:
        ends = now + sessions.LIFE
        key = api_keys.sign_in(conn, name, scopes, expires_at=ends, now=now)
        status = 403 if key is None else 302
        audit_log.record(
            conn, actor=f"key {name}", action="page.sign_in", target="", now=now, status=status
        )
    return key


def scopes_of(claims: dict[str, Any], settings: Settings) -> frozenset[Scope]:
    """Return the scopes that the claims grant, by the mapping of the settings."""
    value = claims.get(settings.oidc_claim)
    groups = {value} if isinstance(value, str) else set(value) if isinstance(value, list) else set()
    return frozenset(Scope(scope) for scope, group in settings.oidc_groups if group in groups)


def _client() -> Any:  # noqa: ANN401 - Authlib has no annotations
    return current_app.extensions[_CLIENT]


def _refuse_unavailable(error: Exception) -> NoReturn:
    log.warning("request postponed", route="sign-in", reason=type(error).__name__)
    refuse(503, "the sign-in service is unavailable", Retry_After=str(RETRY_SECONDS))
