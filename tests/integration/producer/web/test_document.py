"""The OpenAPI document describes every route and every response."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from core.domain.api_key import Scope
from producer.web.live import server_sent_events
from producer.web.live.long_polling import ResultWaiter
from tests.factories import partly_final_batch

DOCUMENT = "/v1/docs/openapi.json"
CALLS = 12  # calls of each operation and mode


@pytest.fixture
def document(front, engine, monkeypatch):
    """Load the document of a front with a batch, in which no request waits."""
    partly_final_batch(engine, 6)
    monkeypatch.setattr(ResultWaiter, "wait", lambda *_: False)
    monkeypatch.setattr(server_sent_events, "LIFE_SECONDS", 0.0)
    return schemathesis.openapi.from_wsgi(DOCUMENT, front)


@pytest.fixture
def headers(key):
    """Return the headers of an admin."""
    return {"Authorization": f"Bearer {key(Scope.ADMIN)}"}


def test_the_document_describes_every_route(front, document):
    documented = {(op.ok().method.upper(), op.ok().path) for op in document.get_all_operations()}
    routes = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in front.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/v1/", "/openai/")) and not rule.rule.startswith("/v1/docs")
    }
    assert documented == routes


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_response_is_documented_and_none_is_an_internal_error(mode, document, headers):
    for found in document.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters()):
            _call(operation, mode, headers)


def _call(operation, mode, headers):
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=CALLS,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        derandomize=True,
        database=None,
    )
    def call(case):
        # A schema cannot express every rule, such as the rows of an upload.
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    call()
