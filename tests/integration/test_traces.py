"""The spans of a batch, from submission to its results, as OpenTelemetry's collector gets them."""

from __future__ import annotations

from functools import partial

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import HttpUrl

from broker.client import open_broker
from core.domain.batch import Lane
from core.tracing.setup import open_tracer
from db.clock import DatabaseClock
from producer.connections import ProducerContext
from producer.monitoring import spans as tracing
from producer.submission import ask
from tests.factories import LEASE, job_rows
from tests.fakes import FakeModel
from tests.receiver import receiving
from worker.inference.model_watcher import ActiveModels
from worker.jobs import answer
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.recovery.leases import LeaseRenewer

MARKER = "Where is my zebra-striped umbrella?"


@pytest.fixture
def collector():
    with receiving() as receiver:
        receiver.statuses = [200]
        yield receiver


def url(collector):
    return HttpUrl(f"http://127.0.0.1:{collector.port}/v1/traces")


def received_spans(collector):
    """Return the received spans by their names."""
    requests = [ExportTraceServiceRequest.FromString(body) for _, _, body in collector.came]
    return {
        span.name: span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_a_batch_is_one_trace_from_submission_to_stored_results(
    collector, engine, settings_with_redis
):
    settings = settings_with_redis.model_copy(update={"traces_url": url(collector)})
    batch = ask.submit_question(ProducerContext(settings, engine, open_broker(settings)), MARKER)
    (job,) = job_rows(engine, batch)
    clock = DatabaseClock(engine)
    traces = open_tracer(settings, "answermill-worker", tracing.identity(engine))
    leases = LeaseRenewer(engine, clock, LEASE)
    context = JobContext(engine, clock, leases, "test/1", LEASE, 3, 100, traces=traces)
    attempt = partial(answer.answer_jobs, context, ActiveModels(FakeModel()))
    JobRunner(context, attempt, lanes=[Lane.INTERACTIVE]).run_message(job.id, lambda *_: None)
    traces.flush()
    tracing.flush()

    spans = received_spans(collector)
    assert set(spans) == {"batch", "submit", "job", "wait", "passes", "store"}
    assert len({span.trace_id for span in spans.values()}) == 1
    within = {name: span.parent_span_id for name, span in spans.items()}
    assert within["batch"] == b""
    assert within["submit"] == within["job"] == spans["batch"].span_id
    assert within["wait"] == within["passes"] == within["store"] == spans["job"].span_id
    for span in spans.values():
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    order = ("wait", "passes", "store")
    starts = [spans[name].start_time_unix_nano for name in order]
    assert starts == sorted(starts)
    assert MARKER.encode() not in b"".join(body for _, _, body in collector.came)


def test_two_batches_are_two_traces(collector, engine, settings_with_redis):
    settings = settings_with_redis.model_copy(update={"traces_url": url(collector)})
    traces = open_tracer(settings, "test", "sqlite:1:2")
    now = DatabaseClock(engine)()
    for batch in (1, 2):
        traces.record_part(f"part of {batch}", batch, now, now)
    traces.flush()
    assert len({span.trace_id for span in received_spans(collector).values()}) == 2


def test_no_span_is_recorded_without_a_url(settings):
    assert open_tracer(settings, "test", "sqlite:1:2") is None
