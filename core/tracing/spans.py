"""Spans of batches, for OpenTelemetry; needs the extra `traces`, which the setting sees to.

All spans of a batch are one trace, whose id follows from the database and the batch: so
processes that know nothing of each other add to it, and no message has to carry it. Spans
are told when they are over, with the times at which they began and ended; they hold ids,
counts and a model version, never text.
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

Value = str | int | float

_DELAY = 500  # milliseconds that spans wait for others, to be sent together
_PATIENCE = 3.0  # seconds for whoever takes them
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Ids(RandomIdGenerator):
    """Random ids, but for the one span that is to have known ones."""

    def __init__(self) -> None:
        self._here = threading.local()

    @contextmanager
    def being(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Give these ids within the block."""
        self._here.known = trace_id, span_id
        try:
            yield
        finally:
            del self._here.known

    def generate_trace_id(self) -> int:
        """Return the next trace's id."""
        known = self._known()
        return known[0] if known else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the next span's id."""
        known = self._known()
        return known[1] if known else super().generate_span_id()

    def _known(self) -> tuple[int, int] | None:
        return getattr(self._here, "known", None)


class Tracer:
    """Tells spans of one process."""

    def __init__(self, url: str, service: str, identity: str) -> None:
        """Begin.

        Args:
            url: where spans go, by OTLP over HTTP.
            service: what this process is, such as `answermill-worker`.
            identity: the database's.
        """
        self._identity = identity
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), id_generator=self._ids
        )
        # A collector that is away is told once each time that spans are lost, not at every try.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        exporter = OTLPSpanExporter(endpoint=url, timeout=_PATIENCE)
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("answermill")

    def batch(
        self, batch_id: int, start: datetime, end: datetime, facts: Mapping[str, Value]
    ) -> None:
        """Tell the whole of a batch: what all its other spans are parts of."""
        with self._ids.being(*self._of(batch_id)):
            span = self._begin("batch", None, batch_id, start, facts)
        span.end(_nanoseconds(end))

    def part(
        self,
        name: str,
        batch_id: int,
        start: datetime,
        end: datetime,
        facts: Mapping[str, Value] | None = None,
        *,
        within: Span | None = None,
    ) -> Span:
        """Tell a part of a batch, or of another part that was told before; return it."""
        if within is None:
            number, root = self._of(batch_id)
            sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            whole = trace.SpanContext(number, root, is_remote=True, trace_flags=sampled)
            parent = trace.set_span_in_context(trace.NonRecordingSpan(whole))
        else:
            parent = trace.set_span_in_context(within)
        span = self._begin(name, parent, batch_id, start, facts or {})
        span.end(_nanoseconds(end))
        return span

    def flush(self) -> None:
        """Send what waits."""
        self._provider.force_flush()

    def _begin(
        self,
        name: str,
        parent: Context | None,
        batch_id: int,
        start: datetime,
        facts: Mapping[str, Value],
    ) -> Span:
        told = {f"answermill.{key}": value for key, value in {"batch": batch_id, **facts}.items()}
        return self._tracer.start_span(
            name, parent, attributes=told, start_time=_nanoseconds(start)
        )

    def _of(self, batch_id: int) -> tuple[int, int]:
        digest = hashlib.sha256(f"{self._identity} {batch_id}".encode()).digest()
        return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def _nanoseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
