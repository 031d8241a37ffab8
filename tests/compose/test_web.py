"""The HTTP front in its container: a request with a key is answered, and counted in Redis."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from limits import RateLimitItemPerMinute

from core.settings.settings import Settings
from tests.compose.project import docker, wait_for

_READY_SECONDS = 60
_WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def front(mill):
    """Ask the front: its path, a key and a body to a status and a document."""
    (web,) = mill.containers("web")
    wait_for(
        lambda: mill.inspect([web])[0]["State"]["Health"]["Status"] == "healthy", _READY_SECONDS
    )

    def ask(path: str, key: str | None = None, **body: object) -> tuple[int, dict]:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        url = f"http://127.0.0.1:{mill.environment['WEB_PORT']}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_WAIT_SECONDS + 10) as response:  # noqa: S310
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return ask


def test_a_question_over_http_is_answered_and_its_key_counted(mill, front):
    words = ["keys", "create", "site", "--scope", "submit", "--json"]
    key = json.loads(mill.producer(*words).stdout)["key"]
    status, document = front(
        f"/v1/questions?wait={_WAIT_SECONDS}", key, question="Where is my order 4711?"
    )
    assert (status, document["status"]) == (200, "answered"), document
    (redis,) = mill.containers("redis")
    user, _, rest = mill.read("broker_url_web").removeprefix("redis://").partition(":")
    login = ["redis-cli", "--user", user, "--pass", rest.partition("@")[0], "--no-auth-warning"]
    limit = RateLimitItemPerMinute(Settings.model_fields["web_rate"].default)
    counter = f"answermill:rate:{{{limit.key_for('site')}}}"
    assert docker("exec", redis, *login, "exists", counter) == "1"


def test_a_request_without_a_key_is_refused(front):
    status, document = front("/v1/questions", question="Where is my order 4711?")
    assert status == 401
    assert "answer" not in document
