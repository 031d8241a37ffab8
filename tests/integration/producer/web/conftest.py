"""The HTTP front in this process, on both databases and a real Redis, with keys to it."""

from __future__ import annotations

import re
import threading
import traceback
from collections import defaultdict
from dataclasses import replace

import pytest
from flask import has_request_context
from sqlalchemy import event

from core.domain.api_key import Scope
from db.clock import DatabaseClock
from db.queries import api_keys, batches
from db.session import reading, transaction
from producer.submission.dispatch import JobDispatcher
from producer.web.app import create_app
from producer.web.context import install_context
from tests.factories import finish, result, running_job


class Visitor:
    """A browser without scripts: it keeps cookies and sends the forms that it has seen."""

    def __init__(self, front, secret: str | None = None) -> None:
        self.http = front.test_client()
        self.token = ""
        if secret is not None:
            self.get("/sign-in")
            assert self.post("/sign-in", key=secret).status_code == 303

    def get(self, path: str, **headers: str):
        return self._seen(self.http.get(path, headers=headers))

    def post(self, path: str, **form):
        return self._seen(self.http.post(path, data={"csrf_token": self.token, **form}))

    def _seen(self, response):
        found = re.search('name="csrf_token" value="([^"]+)"', response.text)
        self.token = found[1] if found else self.token
        response.close()
        return response


@pytest.fixture
def key(engine):
    """Make a key that opens these scopes; return its secret."""

    def key(*scopes: Scope, name: str | None = None, expires_at=None) -> str:
        secret = api_keys.new_secret()
        now = DatabaseClock(engine)()
        name = name or "-".join(scopes)
        with transaction(engine) as conn:
            api_keys.create(conn, name, secret, scopes, expires_at=expires_at, now=now)
        return secret

    return key


@pytest.fixture
def front(settings, engine, client):
    """The app, no request of which may want a second connection while it holds one.

    All threads of a process share a few connections: each holding one, none gets a second.
    """
    clock = DatabaseClock(engine, refresh_seconds=-1)  # always asks the database
    held, twice = defaultdict(int), []

    def take(*_):
        if held[threading.get_ident()] and has_request_context():
            twice.append("".join(traceback.format_stack(limit=20)))
        held[threading.get_ident()] += 1

    def give_back(*_):
        held[threading.get_ident()] -= 1

    event.listen(engine, "checkout", take)
    event.listen(engine, "checkin", give_back)
    yield create_app(replace(install_context(settings, engine, client), clock=clock))
    assert not twice, twice[0]


@pytest.fixture
def http(front, key):
    """A caller with a key for submitting and reading."""
    http = front.test_client()
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key(Scope.SUBMIT, Scope.READ, name='site')}"
    return http


@pytest.fixture
def visitor(front, key):
    """Make somebody's browser without scripts, signed in with a key of these scopes."""
    return lambda *scopes, name="mei": Visitor(front, key(*scopes, name=name))


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

    monkeypatch.setattr(JobDispatcher, "send", send)
