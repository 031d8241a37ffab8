"""The HTTP front in this process, on both databases and a real Redis, with keys to it."""

from __future__ import annotations

import pytest

from db import batches, keys
from db.keys import Scope
from db.session import DatabaseClock, reading, transaction
from producer.broker import Sender
from producer.web.app import create_app
from producer.web.surroundings import surround
from tests.factories import finish, result, running_job


@pytest.fixture
def key(engine):
    """Make a key that opens these scopes; return its secret."""

    def key(*scopes: Scope, name: str | None = None, expires_at=None) -> str:
        secret = keys.new_secret()
        now = DatabaseClock(engine)()
        name = name or "-".join(scopes)
        with transaction(engine) as conn:
            keys.create(conn, name, secret, scopes, expires_at=expires_at, now=now)
        return secret

    return key


@pytest.fixture
def front(settings, engine, client):
    """The app."""
    return create_app(surround(settings, engine, client))


@pytest.fixture
def http(front, key):
    """A caller with a key for submitting and reading."""
    http = front.test_client()
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key(Scope.SUBMIT, Scope.READ, name='site')}"
    return http


@pytest.fixture
def answering(engine, monkeypatch):
    """Let a worker answer every question that is sent, at once."""

    def send(_, messages):
        for message in messages:
            with reading(engine) as conn:
                batch = batches.find(conn, str(message.batch))
            job = running_job(engine, batch)
            positions = range(job.first_position, job.last_position + 1)
            finish(engine, job, [result(n, key=f"ticket-{n}") for n in positions])

    monkeypatch.setattr(Sender, "send", send)
