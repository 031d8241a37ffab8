"""Prometheus metrics of a worker: counts and times of its replicas.

Replicas count into files that prometheus_client maps into memory, so that counts survive a
dead replica. The parent serves the sums. prometheus_client chooses this mode at its first
import: enter `serve_metrics` before any `WorkerMetrics` is created. Otherwise each process
counts in its own memory, and no metric is served. Label values are few and known: a lane, a
stage, a status, a reason, an event, a version.
Not covered: metrics of the whole system: `producer.monitoring.system_metrics`.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from core.errors import SettingsInvalid
from core.settings.settings import Settings
from worker.inference.protocol import ModelWrapper

if TYPE_CHECKING:
    from socket import socket

    import numpy as np
    import prometheus_client
    from numpy.typing import NDArray

    from core.domain.job import Job
    from core.domain.result import Answer
    from worker.inference.protocol import AnsweringModel

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# Seconds: a claim takes milliseconds, a pass of long questions a second, a stalled store more.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_WAITS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0)
_TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_CONFIDENCES = tuple(n / 20 for n in range(1, 21))


class Stage(StrEnum):
    """Stages of a worker's time."""

    CLAIM = "claim"  # claiming jobs and reading their questions
    TOKENIZE = "tokenize"
    PASS = "pass"  # noqa: S105 - the computation of the encoder
    DECIDE = "decide"  # from embeddings to answers
    STORE = "store"  # writing results, including waits for the database


class WorkerMetrics:
    """Counts and times of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()  # not the registry of the whole process
        self._questions = self._counter("questions", "Stored results.", "status", "model_version")
        self._handed_off = self._counter(
            "handed_off", "Hand-offs by reason.", "reason", "model_version"
        )
        self._sources = self._counter("answers_by_source", "Stored answers by source.", "source")
        self._padding = self._counter("padding_tokens", "Padding tokens of all passes.")
        self._events = self._counter(
            "events", "Logged events, with the new state of the job.", "event", "new_state"
        )
        self._create_histograms()

    def _create_histograms(self) -> None:
        seconds = self._histogram(
            "stage_seconds", "Seconds of one run of a stage.", _SECONDS, "stage"
        )
        self._stages = {stage: seconds.labels(stage.value) for stage in Stage}
        self._confidence = self._histogram(
            "confidence", "Confidence of the best entry.", _CONFIDENCES, "model_version"
        )
        self._pass_tokens = self._histogram(
            "pass_tokens", "Tokens of a pass, padding included.", _TOKENS
        )
        self._wait = self._histogram(
            "wait_seconds", "Seconds from the creation of a job to its first claim.", _WAITS, "lane"
        )

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        from prometheus_client import Counter

        return Counter(f"answermill_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], *labels: str
    ) -> prometheus_client.Histogram:
        from prometheus_client import Histogram

        return Histogram(
            f"answermill_{name}", text, labels, buckets=buckets, registry=self.registry
        )

    def timing(self, stage: Stage) -> AbstractContextManager[object]:
        """Measure the seconds of a block of a stage."""
        return self._stages[stage].time()

    def count_wait(self, job: Job, now: datetime) -> None:
        """Count the waiting time of a job if this is its first claim."""
        if job.is_first_attempt and job.created_at is not None:
            waited = (now - job.created_at).total_seconds()
            self._wait.labels(job.lane.value).observe(max(0.0, waited))

    def count_pass(self, lengths: Sequence[int]) -> None:
        """Count the tokens of a pass, by the lengths of its texts in tokens."""
        padded = max(lengths) * len(lengths)
        self._pass_tokens.observe(padded)
        self._padding.inc(padded - sum(lengths))

    def count_answers(self, answers: Sequence[Answer], model_version: str) -> None:
        """Count the stored results of a job."""
        for status, count in Counter(answer.status for answer in answers).items():
            self._questions.labels(status.value, model_version).inc(count)
        reasons = Counter(answer.reason for answer in answers if answer.reason)
        for reason, count in reasons.items():
            self._handed_off.labels(str(reason), model_version).inc(count)
        sources = Counter(answer.via for answer in answers if answer.via)
        for source, count in sources.items():
            self._sources.labels(source.value).inc(count)
        confidence = self._confidence.labels(model_version)
        for answer in answers:
            if answer.confidence is not None:
                confidence.observe(answer.confidence)

    def count_event(
        self,
        _logger: object,
        _method: str,
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Count a logged event, as a processor of structlog.

        Only this project's code logs with structlog.
        """
        self._events.labels(event["event"], event.get("new_state", "")).inc()
        return event

    def count_log_events(self) -> None:
        """Begin to count the logged events of this process."""
        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[self.count_event, *processors])


class InstrumentedModel(ModelWrapper):
    """A model whose stages are timed and whose passes are counted."""

    def __init__(self, model: AnsweringModel, metrics: WorkerMetrics) -> None:
        super().__init__(model)
        self._metrics = metrics

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, with the longest texts cut."""
        with self._metrics.timing(Stage.TOKENIZE):
            return self._model.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass, and return embeddings: (questions, dimensions)."""
        self._metrics.count_pass([len(ids) for ids in tokens])
        with self._metrics.timing(Stage.PASS):
            return self._model.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        with self._metrics.timing(Stage.DECIDE):
            return self._model.decide(texts, embeddings)


class MetricsServer:
    """The socket on which the parent serves the metrics of its children."""

    def __init__(self, listening: socket | None = None) -> None:
        self._listening = listening

    def close(self) -> None:
        """Close a child's socket, so that the parent's end frees the port."""
        if self._listening:
            self._listening.close()


@contextmanager
def serve_metrics(settings: Settings) -> Iterator[MetricsServer]:
    """Serve the metrics of this process's children within the block.

    If the port is 0, serve nothing.

    Raises:
        SettingsInvalid: the address or the port cannot be used.
    """
    if settings.metrics_port == 0:
        yield MetricsServer()
        return
    with tempfile.TemporaryDirectory(prefix="answermill-metrics-") as folder:
        os.environ[_FOLDER] = folder
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        try:
            address = str(settings.metrics_address)
            server, _ = start_http_server(settings.metrics_port, address, registry)
        except OSError as error:
            cause = f"{address}, port {settings.metrics_port}: {error.strerror or error}"
            fault = f"ANSWERMILL_METRICS_PORT: cannot listen on {cause}. Choose a free port."
            raise SettingsInvalid([fault]) from None
        try:
            yield MetricsServer(server.socket)
        finally:
            server.shutdown()
            server.server_close()
