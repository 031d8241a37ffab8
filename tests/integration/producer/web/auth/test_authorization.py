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
QUESTION = {"question": "Where is my parcel?"}


@pytest.fixture
def call(front):
    """Submit a question with this key; return the response."""

    def call(secret: str | None, **headers: str):
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return front.test_client().post(URL, json=QUESTION, headers=headers)

    return call


def test_a_key_opens_the_views_of_its_scopes(call, key):
    codes = {scope: call(key(scope)).status_code for scope in Scope}
    assert codes == {Scope.SUBMIT: 202, Scope.READ: 403, Scope.DESK: 403, Scope.ADMIN: 202}


@pytest.mark.parametrize(
    ("authorization", "detail"),
    [
        *((value, "missing API key") for value in ("", "Bearer", "Bearer ", "Basic YTpi", "am_x")),
        *(
            (value, "this API key is unknown, expired or revoked")
            for value in ("Bearer am_", "Bearer x", "Bearer am_\xff")
        ),
    ],
)
def test_a_request_without_a_live_key_is_refused(authorization, detail, call):
    response = call(None, Authorization=authorization)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json["detail"] == detail


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


def test_a_view_without_a_declared_scope_needs_an_admin(front, key):
    front.add_url_rule("/forgotten", view_func=lambda: "seen")
    codes = {}
    for scope in Scope:
        headers = {"Authorization": f"Bearer {key(scope)}"}
        codes[scope] = front.test_client().get("/forgotten", headers=headers).status_code
    assert codes == {Scope.SUBMIT: 403, Scope.READ: 403, Scope.DESK: 403, Scope.ADMIN: 200}
    assert front.test_client().get("/forgotten").status_code == 401


def test_the_rate_limit_of_a_key_does_not_affect_other_keys(settings, engine, client, key):
    from producer.web.app import create_app
    from producer.web.context import build_context

    slow = settings.model_copy(update={"web_rate": 3})
    http = create_app(build_context(slow, engine, client)).test_client()

    def codes(secret: str) -> list[int]:
        headers = {"Authorization": f"Bearer {secret}"}
        return [http.get("/v1/questions/ask-0", headers=headers).status_code for _ in range(4)]

    busy = key(Scope.SUBMIT, name="busy")
    assert codes(busy) == [404, 404, 404, 429]
    response = http.get("/v1/questions/ask-0", headers={"Authorization": f"Bearer {busy}"})
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert codes(key(Scope.SUBMIT, name="other"))[0] == 404


def test_every_response_has_security_headers(front):
    response = front.test_client().get("/nowhere")
    assert response.status_code == 404
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert response.headers["Cache-Control"] == "no-store"


def test_health_is_503_when_redis_is_unavailable(front, settings, engine, home):
    from broker.client import open_broker
    from producer.web.app import create_app
    from producer.web.context import build_context

    assert front.test_client().get("/v1/health").json == {"status": "ok"}
    url = f"redis+socket://{home}/none.sock"
    unreachable = type(settings)(database_url=settings.database, broker_url=url, home=home)
    with open_broker(unreachable) as client:
        app = create_app(build_context(unreachable, engine, client))
        response = app.test_client().get("/v1/health")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "none.sock" not in response.text


def test_an_internal_error_hides_its_message(http, monkeypatch, caplog):
    def explode(*_args, **_kwargs):
        raise LookupError("the customer's own words")

    monkeypatch.setattr("producer.submission.ask.submit_question", explode)
    response = http.post(URL, json=QUESTION)
    assert response.status_code == 500
    assert "own words" not in response.text + caplog.text
