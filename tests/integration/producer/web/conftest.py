"""Fixtures: the HTTP front in this process, on both databases and a real Redis."""

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
from producer.web.context import build_context
from tests.factories import finish, result, running_job


class Visitor:
    """A browser without scripts: it keeps cookies and sends CSRF tokens."""

    def __init__(self, front, secret: str | None = None) -> None:
        self.http = front.test_client()
        self.token = ""
        if secret is not None:
            self.get("/sign-in")
            assert self.post("/sign-in", key=secret).status_code == 303

    def get(self, path: str, **headers: str):
        return self._store_token(self.http.get(path, headers=headers))

    def post(self, path: str, **form):
        return self._store_token(self.http.post(path, data={"csrf_token": self.token, **form}))

    def _store_token(self, response):
        found = re.search('name="csrf_token" value="([^"]+)"', response.text)
        self.token = found[1] if found else self.token
        response.close()
        return response


@pytest.fixture
def key(engine):
    """Create a key with these scopes; return its secret."""

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
    """Create the app and check that no request holds two connections at once.

    All threads of a process share a few connections. If each thread holds one and waits for a
    second, all wait forever.
    """
    clock = DatabaseClock(engine, refresh_seconds=-1)  # always reads the database
    open_connections, violations = defaultdict(int), []

    def check_out(*_):
        if open_connections[threading.get_ident()] and has_request_context():
            violations.append("".join(traceback.format_stack(limit=20)))
        open_connections[threading.get_ident()] += 1

    def check_in(*_):
        open_connections[threading.get_ident()] -= 1

    event.listen(engine, "checkout", check_out)
    event.listen(engine, "checkin", check_in)
    yield create_app(replace(build_context(settings, engine, client), clock=clock))
    assert not violations, violations[0]


@pytest.fixture
def http(front, key):
    """Create a client with a key to submit and read."""
    http = front.test_client()
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key(Scope.SUBMIT, Scope.READ, name='site')}"
    return http


@pytest.fixture
def visitor(front, key):
    """Create a browser without scripts, signed in with a key of these scopes."""
    return lambda *scopes, name="mei": Visitor(front, key(*scopes, name=name))


@pytest.fixture
def answering(engine, monkeypatch):
    """Answer every question as soon as its job is sent."""

    def send(_, messages):
        for message in messages:
            with reading(engine) as conn:
                batch = batches.find(conn, str(message.batch))
            job = running_job(engine, batch)
            positions = range(job.first_position, job.last_position + 1)
            finish(engine, job, [result(n, key=f"ticket-{n}") for n in positions])

    monkeypatch.setattr(JobDispatcher, "send", send)
