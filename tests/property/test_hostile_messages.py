"""Whatever is in a message, the worker's parent refuses it or hands it on, and lives."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.transport.virtual.base import Message

from core.errors import MessageInvalid
from core.messages import TASK, WIRE_VERSION, AnswerJob, JobHint
from core.settings.settings import Settings
from worker.process.consumer import SafeConsumer
from worker.process.parent import create_app

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["2026-01-01T00:00:00", "9999-99-99", "nan", "[", "0"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
WIRES = st.dictionaries(st.sampled_from(["v", "job", "later"]) | st.text(max_size=3), JSON)
NAMES = ["id", "root_id", "parent_id", "group", "meth", "shadow", "eta", "expires", "retries"]
NAMES += ["timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps"]


@given(wire=WIRES)
@example(wire={"v": WIRE_VERSION, "job": 1, "later": []})
def test_a_message_is_read_or_refused(wire):
    try:
        hint = JobHint.decode(wire)
    except MessageInvalid:
        return
    assert hint.job == wire["job"]
    assert 1 <= hint.job < 2**63
    assert wire["v"] == WIRE_VERSION


@given(job=st.integers(1, 2**63 - 1))
def test_what_we_write_we_read(job):
    wire = json.loads(json.dumps(AnswerJob(job, 1, "bulk", 1).encode()))
    assert JobHint.decode(wire) == JobHint(job)


HEADERS = st.fixed_dictionaries(
    {}, optional={"task": st.just(TASK) | JSON, **dict.fromkeys(NAMES, JSON)}
)
BODIES = (
    st.binary(max_size=20)
    | JSON.map(lambda found: json.dumps(found).encode())
    | st.tuples(JSON, JSON, JSON).map(lambda found: json.dumps(found).encode())
    | WIRES.map(lambda wire: json.dumps([[], wire, {}]).encode())
)
KINDS = st.sampled_from(["application/json", "application/x-python-serialize", "text/plain", ""])
CODES = st.sampled_from(["utf-8", "binary", "no such", ""])


@pytest.fixture(scope="module")
def received():
    """What Celery's consumer does with a message; its pool only takes note."""
    app = create_app(Settings(database_url="sqlite:///none.db", broker_url="redis://unused"))
    app.finalize()
    consumer = SafeConsumer.__new__(SafeConsumer)
    state = SimpleNamespace(revoked={})
    consumer.__dict__.update(
        app=app,
        hostname="worker",
        connection_errors=app.connection_for_read().connection_errors,
        event_dispatcher=None,
        timer=MagicMock(),
        apply_eta_task=MagicMock(),
        disable_rate_limits=True,
        task_buckets={},
        pool=MagicMock(),
        qos=MagicMock(),
        controller=SimpleNamespace(state=state),
        on_task_request=lambda request: request.execute_using_pool(MagicMock()),
        on_task_message=set(),
        restart_count=0,
        strategies={},
        call_soon_ack=lambda callback, *words: callback(*words),
        _restore_prefetch_count_after_connection_restart=lambda *_, **__: None,
        _maximum_prefetch_restored=True,
    )
    consumer.strategies[TASK] = app.tasks[TASK].start_strategy(app, consumer)
    return consumer.create_task_handler()


@given(headers=HEADERS, body=BODIES, kind=KINDS, code=CODES)
@example(headers={"task": []}, body=b"[]", kind="application/json", code="utf-8")
@example(headers={"task": {}, "id": "a"}, body=b"[]", kind="application/json", code="utf-8")
def test_no_message_raises_in_the_parent(headers, body, kind, code, received):
    channel = MagicMock()
    payload = {
        "body": base64.b64encode(body).decode(),
        "content-type": kind,
        "content-encoding": code,
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": "bulk"},
        },
    }
    channel.decode_body = lambda body, _encoding: base64.b64decode(body)
    received(Message(payload, channel=channel))
