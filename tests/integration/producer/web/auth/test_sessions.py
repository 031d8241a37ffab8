from __future__ import annotations

import stat
from datetime import timedelta

import pytest

from core.domain.api_key import Scope
from core.errors import SettingsInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import api_keys
from db.session import transaction
from producer.web.auth import sessions
from tests.factories import partly_final_batch

_SECRET = "s" * 40


def test_a_session_has_the_scopes_of_its_key_and_ends_with_it(visitor, engine):
    batch = partly_final_batch(engine, 6)
    mei = visitor(Scope.READ)
    assert mei.get("/").headers["Location"] == "/batches"
    assert mei.get(f"/batches/{batch.id}").status_code == 200
    refused = mei.get("/desk")
    assert (refused.status_code, refused.mimetype) == (403, "text/html")
    assert "this request requires an API key with the scope desk" in refused.text
    with transaction(engine) as conn:
        api_keys.revoke(conn, "mei", DatabaseClock(engine)())
    ended = mei.get("/batches")
    assert (ended.status_code, ended.headers["Location"]) == (303, "/sign-in?next=/batches")


def test_a_session_ends_when_its_key_expires(front, key, engine, visitor):
    del front
    mei = visitor(Scope.READ)
    with transaction(engine) as conn:
        now = DatabaseClock(engine)()
        conn.execute(api_keys.k.update().values(expires_at=now - timedelta(seconds=1)))
    assert mei.get("/batches").status_code == 303
    assert key  # the fixture made it


def test_signing_out_ends_the_session(visitor):
    mei = visitor(Scope.READ)
    mei.get("/batches")
    assert mei.post("/sign-out").headers["Location"] == "/sign-in"
    assert mei.get("/batches").status_code == 303


@pytest.mark.parametrize("secret", ["", "am_wrong", "x", "am_\x00", "am_\u00e9"])
def test_sign_in_without_a_live_key_is_refused(secret, visitor, front):
    from tests.integration.producer.web.conftest import Visitor

    stranger = Visitor(front)
    stranger.get("/sign-in")
    response = stranger.post("/sign-in", key=secret)
    assert response.status_code == 401
    assert len(secret) < len("am_x") or secret not in response.text
    assert stranger.get("/batches").status_code == 303
    assert visitor


def test_the_cookie_is_http_only_and_secure_over_tls(front, visitor):
    mei = visitor(Scope.READ)
    cookie = mei.get("/batches").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    safe = mei.http.get("/batches", base_url="https://localhost").headers.get("Set-Cookie", "")
    response = front.test_client().get("/sign-in", base_url="https://localhost")
    assert "Secure" in response.headers["Set-Cookie"], safe


def test_a_forged_cookie_opens_nothing(front, visitor):
    visitor(Scope.ADMIN)
    other = front.test_client()
    forged = sessions.SessionCookies().get_signing_serializer(type(front)("forger"))
    assert forged is None  # the forger has no secret to sign with
    other.set_cookie("answermill", "eyJrZXkiOjF9.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb")
    assert other.get("/batches").status_code == 303


def test_the_api_takes_no_session(visitor):
    mei = visitor(Scope.ADMIN)
    assert mei.get("/v1/batches").status_code == 401


def test_a_form_of_another_site_is_refused(visitor, engine):
    batch = partly_final_batch(engine, 6)
    mei = visitor(Scope.ADMIN)
    mei.get("/batches")
    own, mei.token = mei.token, ""
    for path in (
        f"/batches/{batch.id}/cancel",
        "/ask",
        "/upload",
        "/desk/next",
        f"/desk/{batch.id}/2",
        f"/desk/{batch.id}/2/take",
        f"/desk/{batch.id}/2/release",
        f"/desk/{batch.id}/2/proposal",
        "/models/shop/promote",
        "/models/shop/roll-back",
        "/sign-out",
        "/sign-in",
    ):
        response = mei.http.post(path, data={})
        assert (response.status_code, response.mimetype) == (400, "text/html"), path
        assert "CSRF" in response.text
    mei.token = own
    assert mei.post("/desk/next").status_code == 303


def test_every_form_of_the_page_is_protected(front):
    """The test above lists every view of the pages that changes data."""
    posts = {
        rule.rule
        for rule in front.url_map.iter_rules()
        if "POST" in rule.methods and rule.endpoint.startswith("page.")
    }
    assert len(posts) == 12


@pytest.mark.parametrize(
    ("requested", "location"),
    [
        ("/batches?before=3", "/batches?before=3"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_sign_in_redirects_to_local_paths_only(requested, location, front, key):
    from tests.integration.producer.web.conftest import Visitor

    stranger = Visitor(front)
    stranger.get("/sign-in")
    response = stranger.post("/sign-in", key=key(Scope.READ), next=requested)
    assert response.headers["Location"] == location


def test_the_secret_is_created_once_and_is_readable_by_its_owner_only(home):
    created = sessions.secret_of(Settings(home=home / "new"))
    assert len(created) > 40
    assert sessions.secret_of(Settings(home=home / "new")) == created
    assert stat.S_IMODE((home / "new" / "session_secret").stat().st_mode) == 0o600
    with_secret = Settings(home=home / "none", session_secret=_SECRET)
    assert sessions.secret_of(with_secret) == _SECRET
    assert not (home / "none").exists()


def test_without_embedded_services_the_secret_is_required(home):
    with pytest.raises(SettingsInvalid, match="ANSWERMILL_SESSION_SECRET: not set"):
        sessions.secret_of(Settings(home=home, embedded=False))
