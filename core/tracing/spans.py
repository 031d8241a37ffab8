"""Spans of batches for OpenTelemetry, which the extra `traces` installs.

All spans of a batch form one trace. The trace id is a hash of the database and the batch id, so
separate processes add to the same trace, and no message carries the id. A span is recorded after
its end, with its start and end time. Spans hold ids, counts and a model version, never text.

Not covered: the choice of spans, which `producer.monitoring.spans` and `worker.jobs.spans` make.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span

AttributeValue = str | int | float

_EXPORT_DELAY = 500  # milliseconds that spans wait to be exported together; higher: fewer requests
_EXPORT_TIMEOUT = 3.0  # seconds for the collector to answer
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _IdGenerator(RandomIdGenerator):
    """Random ids, except for a span with fixed ids."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def fixed(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Return these ids to spans of this thread within the block."""
        self._local.ids = trace_id, span_id
        try:
            yield
        finally:
            del self._local.ids

    def generate_trace_id(self) -> int:
        """Return the id of the next trace."""
        ids = self._fixed_ids()
        return ids[0] if ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id of the next span."""
        ids = self._fixed_ids()
        return ids[1] if ids else super().generate_span_id()

    def _fixed_ids(self) -> tuple[int, int] | None:
        return getattr(self._local, "ids", None)


class Tracer:
    """Records and exports the spans of one process."""

    def __init__(self, url: str, service: str, identity: str) -> None:
        """Start the export to a collector.

        Args:
            url: URL of the collector, for OTLP over HTTP.
            service: the name of this process, such as `answermill-worker`.
            identity: the identity of the database.
        """
        self._identity = identity
        self._ids = _IdGenerator()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), id_generator=self._ids
        )
        # If the collector is unavailable, log each loss of spans once, and not each retry.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        exporter = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT)
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_DELAY)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("answermill")

    def record_batch(
        self, batch_id: int, start: datetime, end: datetime, facts: Mapping[str, AttributeValue]
    ) -> None:
        """Record the root span of a batch, the parent of its other spans."""
        with self._ids.fixed(*self._batch_ids(batch_id)):
            span = self._start("batch", None, batch_id, start, facts)
        span.end(_nanoseconds(end))

    def record_part(
        self,
        name: str,
        batch_id: int,
        start: datetime,
        end: datetime,
        facts: Mapping[str, AttributeValue] | None = None,
        *,
        within: Span | None = None,
    ) -> Span:
        """Record a span of a batch and return it.

        The parent is the span `within`, or the root span of the batch. The root span need not be
        recorded yet.
        """
        if within is None:
            trace_id, span_id = self._batch_ids(batch_id)
            sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            root = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled)
            parent = trace.set_span_in_context(trace.NonRecordingSpan(root))
        else:
            parent = trace.set_span_in_context(within)
        span = self._start(name, parent, batch_id, start, facts or {})
        span.end(_nanoseconds(end))
        return span

    def flush(self) -> None:
        """Export the spans that wait."""
        self._provider.force_flush()

    def _start(
        self,
        name: str,
        parent: Context | None,
        batch_id: int,
        start: datetime,
        facts: Mapping[str, AttributeValue],
    ) -> Span:
        named = {"batch": batch_id, **facts}
        attributes = {f"answermill.{name}": value for name, value in named.items()}
        return self._tracer.start_span(
            name, parent, attributes=attributes, start_time=_nanoseconds(start)
        )

    def _batch_ids(self, batch_id: int) -> tuple[int, int]:
        digest = hashlib.sha256(f"{self._identity} {batch_id}".encode()).digest()
        return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def _nanoseconds(time: datetime) -> int:
    elapsed = time - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + elapsed.microseconds * 1_000
