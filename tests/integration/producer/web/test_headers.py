"""Every response has the security headers."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(response) -> dict[str, set[str]]:
    parts = (part.split() for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: set(sources) for name, *sources in parts}


def urls(front):
    """Yield the URL of every view, with a value for each variable of its path."""
    for rule in front.url_map.iter_rules():
        if "GET" in rule.methods:
            values = dict.fromkeys(rule.arguments, "1")
            yield rule.build(values)[1] if rule.arguments else str(rule)
    yield "/nothing"


def test_every_response_has_the_headers_and_a_restrictive_policy(front, http):
    seen = set()
    for url in urls(front):
        for caller in (http, front.test_client()):
            response = caller.get(url)
            seen.add(response.status_code)
            headers = {name: response.headers.get(name) for name in ALWAYS}
            assert headers == ALWAYS, url
            # The CSRF check of forms over TLS needs the Referer header.
            assert response.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}, url
            allowed = policy(response)
            assert allowed["default-src"] <= {"'none'", "'self'"}, url
            assert allowed["frame-ancestors"] == {"'none'"}, url
            assert allowed["base-uri"] == {"'none'"}, url
            assert allowed["form-action"] <= {"'none'", "'self'"}, url
            scripts = allowed.get("script-src", set())
            assert not scripts & {"'unsafe-inline'", "'unsafe-eval'", "*", "https:", "data:"}, url
            assert "Strict-Transport-Security" not in response.headers
    assert {200, 401, 404} <= seen


def test_scripts_of_the_document_are_allowed_by_digest(front):
    response = front.test_client().get("/v1/docs/swagger")
    found = re.findall(r"<script[^>]*>(.*?)</script>", response.text, re.DOTALL)
    scripts = [script for script in found if script]
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy(response)["script-src"]
    assert not re.search(r"\son\w+=", response.text)  # no script in an attribute
