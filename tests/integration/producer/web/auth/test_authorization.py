from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.api_key import Scope
from db.clock import DatabaseClock
from db.queries import api_keys as keys
from db.session import reading, transaction
from db.tables import api_keys, audit

URL = "/v1/questions?wait=0"
ASKED = {"question": "Where is my parcel?"}


@pytest.fixture
def call(front):
    """Ask with this key; return the response."""

    def call(secret: str | None, **headers: str):
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return front.test_client().post(URL, json=ASKED, headers=headers)

    return call


def test_a_key_opens_what_its_scopes_say(call, key):
    told = {scope: call(key(scope)).status_code for scope in Scope}
    assert told == {Scope.SUBMIT: 202, Scope.READ: 403, Scope.DESK: 403, Scope.ADMIN: 202}


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer am_", "Bearer x", "Basic YTpi", "Bearer am_\xff", "am_x"],
)
def test_who_has_no_key_is_refused(authorization, call):
    told = call(None, Authorization=authorization)
    assert (told.status_code, told.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_key_ends_when_it_expires_or_is_revoked(call, key, engine):
    now = DatabaseClock(engine)()
    lasting = key(Scope.SUBMIT, name="lasting", expires_at=now + timedelta(hours=1))
    ended = key(Scope.SUBMIT, name="ended", expires_at=now - timedelta(seconds=1))
    revoked = key(Scope.SUBMIT, name="revoked")
    with transaction(engine) as conn:
        keys.revoke(conn, "revoked", now)
    assert [call(secret).status_code for secret in (lasting, ended, revoked)] == [202, 401, 401]


def test_secrets_are_not_stored(key, engine):
    secret = key(Scope.SUBMIT)
    with reading(engine) as conn:
        rows = str(conn.execute(sa.select(api_keys)).all() + conn.execute(sa.select(audit)).all())
    assert secret not in rows
    assert keys.digest_of(secret) in rows


def test_a_view_that_says_nothing_needs_an_admin(front, key):
    front.add_url_rule("/forgotten", view_func=lambda: "seen")
    codes = {}
    for scope in Scope:
        headers = {"Authorization": f"Bearer {key(scope)}"}
        codes[scope] = front.test_client().get("/forgotten", headers=headers).status_code
    assert codes == {Scope.SUBMIT: 403, Scope.READ: 403, Scope.DESK: 403, Scope.ADMIN: 200}
    assert front.test_client().get("/forgotten").status_code == 401


def test_a_key_that_asks_too_often_waits_and_others_do_not(settings, engine, client, key):
    from producer.web.app import create_app
    from producer.web.context import install_context

    slow = settings.model_copy(update={"web_rate": 3})
    http = create_app(install_context(slow, engine, client)).test_client()

    def codes(secret: str) -> list[int]:
        headers = {"Authorization": f"Bearer {secret}"}
        return [http.get("/v1/questions/ask-0", headers=headers).status_code for _ in range(4)]

    busy = key(Scope.SUBMIT, name="busy")
    assert codes(busy) == [404, 404, 404, 429]
    told = http.get("/v1/questions/ask-0", headers={"Authorization": f"Bearer {busy}"})
    assert 1 <= int(told.headers["Retry-After"]) <= 60
    assert codes(key(Scope.SUBMIT, name="other"))[0] == 404


def test_every_response_forbids_what_no_api_needs(front):
    told = front.test_client().get("/nowhere")
    assert told.status_code == 404
    assert told.headers["X-Content-Type-Options"] == "nosniff"
    assert told.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert told.headers["Cache-Control"] == "no-store"


def test_health_tells_whether_the_services_serve(front, settings, engine, home):
    from broker.client import open_broker
    from producer.web.app import create_app
    from producer.web.context import install_context

    assert front.test_client().get("/v1/health").json == {"status": "ok"}
    url = f"redis+socket://{home}/none.sock"
    away = type(settings)(database_url=settings.database, broker_url=url, home=home)
    with open_broker(away) as client:
        told = create_app(install_context(away, engine, client)).test_client().get("/v1/health")
    assert (told.status_code, told.headers["Retry-After"]) == (503, "5")
    assert "none.sock" not in told.text


def test_our_own_bug_is_told_without_its_message(http, monkeypatch, caplog):
    def explode(*_args, **_kwargs):
        raise LookupError("the customer's own words")

    monkeypatch.setattr("producer.submission.ask.submit_question", explode)
    told = http.post(URL, json=ASKED)
    assert told.status_code == 500
    assert "own words" not in told.text + caplog.text
