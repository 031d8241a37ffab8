"""Sign-in through a test issuer, with real HTTP and real signatures."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
import sqlalchemy as sa
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from core.domain.api_key import Scope
from core.errors import SettingsInvalid
from core.settings import load
from db.clock import DatabaseClock
from db.queries import api_keys as keys
from db.session import reading, transaction
from db.tables import api_keys
from producer.web.app import create_app
from producer.web.context import build_context
from tests.issuer import CLIENT, SECRET, issuing

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def issuer():
    with issuing() as issuer:
        yield issuer


@pytest.fixture
def oidc_settings(issuer):
    """Return the settings of the issuer."""
    return {
        "oidc_issuer": issuer.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_scopes": "desk=support read=support admin=ops",
        "web_url": "http://localhost",
    }


@pytest.fixture
def browser(settings, engine, client, oidc_settings):
    front = create_app(build_context(settings.model_copy(update=oidc_settings), engine, client))
    return front.test_client()


def to_issuer(browser) -> str:
    """Begin to sign in; return the URL to which the issuer redirects the browser."""
    sent = browser.get("/sign-in/oidc")
    assert sent.status_code == 302
    back = httpx.get(sent.location).headers["Location"]
    assert back.startswith("http://localhost/sign-in/oidc/back?")
    return back.removeprefix("http://localhost")


def sign_in(browser):
    return browser.get(to_issuer(browser))


def signed_in(engine):
    with reading(engine) as conn:
        return [key for key in keys.listed(conn) if key.name.startswith("oidc:")]


def test_a_user_gets_a_session_with_the_scopes_of_the_groups(browser, engine):
    assert "/sign-in/oidc" in browser.get("/sign-in").text
    done = sign_in(browser)
    assert (done.status_code, done.location) == (302, "/")
    (key,) = signed_in(engine)
    assert (key.name, key.scopes) == ("oidc:jane", {Scope.DESK, Scope.READ})
    assert key.expires_at is not None
    assert browser.get("/", follow_redirects=True).status_code == 200
    assert browser.get("/v1/batches").status_code == 401  # a session opens the pages only


def test_a_change_of_groups_applies_at_the_next_sign_in(browser, engine, issuer):
    sign_in(browser)
    issuer.claims["groups"] = ["ops"]
    sign_in(browser)
    first, second = signed_in(engine)
    assert (second.serial, second.scopes) == (2, {Scope.ADMIN})
    assert not first.is_active(DatabaseClock(engine)())


@pytest.mark.parametrize(
    "claims", [{"groups": []}, {"groups": ["others"]}, {"groups": None}, {"sub": ""}]
)
def test_a_user_without_a_group_is_refused(claims, browser, engine, issuer):
    issuer.claims |= claims
    refusal = sign_in(browser)
    assert refusal.status_code == 403
    assert signed_in(engine) == []
    page = refusal.get_data(as_text=True)
    assert refusal.mimetype == "text/html"
    assert "your account has no access here" in page
    assert "script-src 'self'" in refusal.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"iss": "https://other.example"},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT},
        {"nonce": "another"},
        {"exp": int(time.time()) - 3_600},
        {"iat": int(time.time()) + 3_600},
    ],
)
def test_a_token_with_invalid_claims_is_refused(spoil, browser, engine, issuer):
    issuer.spoil = spoil
    assert sign_in(browser).status_code == 403
    assert signed_in(engine) == []


def test_a_token_with_a_foreign_signature_is_refused(browser, engine, issuer):
    issuer.signs_with = RSAKey.generate_key(2048, {"kid": "1"})
    assert sign_in(browser).status_code == 403
    assert signed_in(engine) == []


def test_a_callback_without_a_matching_request_is_refused(
    browser, engine, settings, client, oidc_settings
):
    back = to_issuer(browser)
    other = create_app(
        build_context(settings.model_copy(update=oidc_settings), engine, client)
    ).test_client()
    assert other.get(back).status_code == 403  # another browser's
    state = parse_qs(urlsplit(back).query)["state"][0]
    assert browser.get(f"/sign-in/oidc/back?code=invented&state={state}").status_code == 403
    assert browser.get(back).status_code == 403  # a state is valid once
    assert browser.get("/sign-in/oidc/back?error=access_denied").status_code == 403
    assert browser.get("/sign-in/oidc/back").status_code == 403
    assert signed_in(engine) == []


def test_a_wrong_client_secret_is_refused(settings, engine, client, oidc_settings, issuer):
    wrong = oidc_settings | {"oidc_client_secret": SecretStr("wrong")}
    browser = create_app(
        build_context(settings.model_copy(update=wrong), engine, client)
    ).test_client()
    assert sign_in(browser).status_code == 403
    assert issuer.refused == ["secret"]


def test_a_blocked_user_cannot_sign_in_again(browser, engine):
    sign_in(browser)
    with transaction(engine) as conn:
        keys.revoke(conn, "oidc:jane", DatabaseClock(engine)())
    assert browser.get("/batches").status_code == 303  # to sign in
    assert sign_in(browser).status_code == 403


def test_the_key_of_a_session_opens_no_api(browser, engine, http):
    sign_in(browser)
    with reading(engine) as conn:
        digest = conn.scalar(sa.select(api_keys.c.digest).where(api_keys.c.name == "oidc:jane"))
    response = http.get("/v1/batches", headers={"Authorization": f"Bearer {digest}"})
    assert response.status_code == 401


def test_an_unavailable_issuer_is_reported(settings, engine, client, oidc_settings):
    unavailable = oidc_settings | {"oidc_issuer": "http://127.0.0.1:9"}
    browser = create_app(
        build_context(settings.model_copy(update=unavailable), engine, client)
    ).test_client()
    assert browser.get("/sign-in/oidc").status_code == 503


def test_missing_and_invalid_settings_are_reported(settings, engine, client, oidc_settings):
    lacking = settings.model_copy(update=oidc_settings | {"web_url": None, "oidc_scopes": None})
    with pytest.raises(SettingsInvalid) as error:
        create_app(build_context(lacking, engine, client))
    names = [fault.partition(":")[0] for fault in error.value.faults]
    assert names == ["ANSWERMILL_OIDC_SCOPES", "ANSWERMILL_WEB_URL"]
    for name, value in {"oidc_scopes": "owner=x", "oidc_issuer": "http://issuer.example"}.items():
        with pytest.raises(SettingsInvalid, match=f"ANSWERMILL_{name.upper()}"):
            load.load(**{name: value})


def test_without_an_issuer_the_sign_in_is_not_offered(front):
    assert front.test_client().get("/sign-in/oidc").status_code == 404
    assert "/sign-in/oidc" not in front.test_client().get("/sign-in").text
