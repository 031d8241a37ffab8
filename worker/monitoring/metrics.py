"""What a worker counts and times, for Prometheus.

The children of a worker count into files, which prometheus_client maps into memory, so that
a child that dies takes no count along; the parent serves the sum. Which of this the library
does, it decides when it is first imported: `served` must be entered before any `WorkerMetrics` is
made. Without it, everything is counted in the child's memory and nobody sees it.

Labels are few and known: a lane, a stage, a status, a reason, an event's name, a version.
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
    """What a worker spends its time with."""

    CLAIM = "claim"  # taking jobs and reading their questions
    TOKENISE = "tokenise"
    PASS = "pass"  # noqa: S105 - the model's arithmetic
    DECIDE = "decide"  # from embeddings to answers
    STORE = "store"  # writing results, waiting for the database included


class WorkerMetrics:
    """The counts and times of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        own = self.registry = CollectorRegistry()  # not the one that the whole process shares
        self._seconds = Histogram(
            "answermill_stage_seconds",
            "Seconds that one go at a stage took.",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._questions = Counter(
            "answermill_questions", "Results stored.", ["status", "model_version"], registry=own
        )
        self._handed_off = Counter(
            "answermill_handed_off",
            "Questions handed off, by why.",
            ["reason", "model_version"],
            registry=own,
        )
        self._ways = Counter(
            "answermill_ways",
            "Results stored, by how the answer came about.",
            ["via"],
            registry=own,
        )
        self._confidence = Histogram(
            "answermill_confidence",
            "How sure the best entry was, answered or handed off.",
            ["model_version"],
            buckets=_CONFIDENCES,
            registry=own,
        )
        self._pass_tokens = Histogram(
            "answermill_pass_tokens",
            "Tokens of a pass, padding included.",
            buckets=_TOKENS,
            registry=own,
        )
        self._padding = Counter(
            "answermill_padding_tokens", "Tokens that only filled passes up.", registry=own
        )
        self._events = Counter(
            "answermill_events",
            "Events that the log tells, and what became of the job.",
            ["event", "now"],
            registry=own,
        )
        self._wait = Histogram(
            "answermill_wait_seconds",
            "From the making of a job to its first claim.",
            ["lane"],
            buckets=_WAITS,
            registry=own,
        )
        self._stages = {stage: self._seconds.labels(stage.value) for stage in Stage}

    def timing(self, stage: Stage) -> AbstractContextManager[object]:
        """Time a block of work."""
        return self._stages[stage].time()

    def count_wait(self, job: Job, now: datetime) -> None:
        """Count how long a job waited that was just claimed for the first time."""
        if job.is_first_attempt and job.created_at is not None:
            waited = (now - job.created_at).total_seconds()
            self._wait.labels(job.lane.value).observe(max(0.0, waited))

    def count_pass(self, lengths: Sequence[int]) -> None:
        """Count the tokens of a pass of so many texts."""
        padded = max(lengths) * len(lengths)
        self._pass_tokens.observe(padded)
        self._padding.inc(padded - sum(lengths))

    def count_answers(self, answers: Sequence[Answer], model_version: str) -> None:
        """Count the results of a job, once they are stored."""
        for status, count in Counter(answer.status for answer in answers).items():
            self._questions.labels(status.value, model_version).inc(count)
        reasons = Counter(answer.reason for answer in answers if answer.reason)
        for reason, count in reasons.items():
            self._handed_off.labels(str(reason), model_version).inc(count)
        ways = Counter(answer.via for answer in answers if answer.via)
        for via, count in ways.items():
            self._ways.labels(via.value).inc(count)
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
        """Count what the log tells: a processor of structlog. Only our own code logs by it."""
        self._events.labels(event["event"], event.get("now", "")).inc()
        return event

    def count_log_events(self) -> None:
        """Count the events of this process from now on."""
        others = structlog.get_config()["processors"]
        structlog.configure(processors=[self.count_event, *others])


class InstrumentedModel(ModelWrapper):
    """A model that is timed and counted as it works."""

    def __init__(self, model: AnsweringModel, meters: WorkerMetrics) -> None:
        super().__init__(model)
        self._meters = meters

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""
        with self._meters.timing(Stage.TOKENISE):
            return self._model.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions)."""
        self._meters.count_pass([len(ids) for ids in tokens])
        with self._meters.timing(Stage.PASS):
            return self._model.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        with self._meters.timing(Stage.DECIDE):
            return self._model.decide(texts, embeddings)


class MetricsServer:
    """Where the parent serves what its children count."""

    def __init__(self, listening: socket | None = None) -> None:
        self._listening = listening

    def close(self) -> None:
        """Close it in a child, so that no child holds the port when the parent has gone."""
        if self._listening:
            self._listening.close()


@contextmanager
def serve_metrics(settings: Settings) -> Iterator[MetricsServer]:
    """Serve the counts of this process's children until the block ends, if that is wanted.

    Raises:
        SettingsInvalid: the address can't be listened on.
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
            fault = f"{address}, port {settings.metrics_port}: {error.strerror or error}"
            raise SettingsInvalid([f"ANSWERMILL_METRICS_PORT: {fault}"]) from None
        try:
            yield MetricsServer(server.socket)
        finally:
            server.shutdown()
            server.server_close()
