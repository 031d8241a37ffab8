"""Every response carries what keeps a browser from doing harm with it."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(response) -> dict[str, set[str]]:
    parts = (part.split() for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: set(sources) for name, *sources in parts}


def places(front):
    """Return every place that can be read, with something for what its address leaves open."""
    for rule in front.url_map.iter_rules():
        if "GET" in rule.methods:
            values = dict.fromkeys(rule.arguments, "1")
            yield rule.build(values)[1] if rule.arguments else str(rule)
    yield "/nothing"


def test_every_response_has_them_and_a_policy_that_starts_from_nothing(front, http):
    seen = set()
    for place in places(front):
        for caller in (http, front.test_client()):
            response = caller.get(place)
            seen.add(response.status_code)
            told = {name: response.headers.get(name) for name in ALWAYS}
            assert told == ALWAYS, place
            allowed = policy(response)
            assert allowed["default-src"] <= {"'none'", "'self'"}, place
            assert allowed["frame-ancestors"] == {"'none'"}, place
            assert allowed["base-uri"] == {"'none'"}, place
            assert allowed["form-action"] <= {"'none'", "'self'"}, place
            scripts = allowed.get("script-src", set())
            assert not scripts & {"'unsafe-inline'", "'unsafe-eval'", "*", "https:", "data:"}, place
            assert "Strict-Transport-Security" not in response.headers
    assert {200, 401, 404} <= seen


def test_the_documents_own_scripts_are_allowed_by_what_they_are(front):
    response = front.test_client().get("/v1/docs/swagger")
    found = re.findall(r"<script[^>]*>(.*?)</script>", response.text, re.DOTALL)
    scripts = [script for script in found if script]
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy(response)["script-src"]
    assert not re.search(r"\son\w+=", response.text)  # no attribute is a script
