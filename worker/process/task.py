"""The Celery task: decodes a message and runs its job.

While the circuit breaker is open, the message returns to its lane for a healthy worker.
Not covered: messages that Celery cannot decode: `worker.process.consumer`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Reject

from core.domain.batch import Lane
from core.errors import MessageInvalid
from core.messages import TASK, JobHint
from worker.jobs.runner import JobRunner
from worker.recovery.circuit_breaker import CircuitBreaker

log = structlog.get_logger()

# Seconds between two progress events. Lower: more events; one costs as much as queuing many
# questions.
_PROGRESS_SECONDS = 1.0

# Seconds before a message returns to its lane. Higher: fewer deliveries, slower SIGTERM.
_REJECT_DELAY_SECONDS = 1.0


@dataclass(slots=True)
class Replica:
    """The state of a child process that the task uses."""

    runner: JobRunner
    breaker: CircuitBreaker
    progress_sent_at: float = float("-inf")  # by time.monotonic


@dataclass(slots=True)
class ReplicaSlot:
    """The variable in which a child process stores its replica for the task."""

    replica: Replica | None = None


def register(app: Celery, slot: ReplicaSlot) -> None:
    """Register the app's one task."""

    # Not shared: every other Celery app of the process would get a shared task.
    @app.task(
        name=TASK, bind=True, shared=False, Strategy="worker.process.consumer:validated_strategy"
    )  # type: ignore[untyped-decorator]  # Celery has no annotations
    def answer(self: Any, *_: object, **wire: Any) -> dict[str, object]:  # noqa: ANN401
        try:
            hint = JobHint.decode(wire)
        except MessageInvalid as error:
            # The job stays queued in SQL, and the sweep sends a valid message.
            log.error("message refused", error=str(error))  # noqa: TRY400 - no traceback needed
            return {"refused": str(error)}
        return _run_message(self, slot.replica, hint)


def _run_message(celery_task: Any, replica: Replica | None, hint: JobHint) -> dict[str, object]:  # noqa: ANN401
    if replica is None:
        msg = "a task came before the model was loaded"
        raise RuntimeError(msg)
    if seconds := replica.breaker.seconds_to_wait():
        time.sleep(min(seconds, _REJECT_DELAY_SECONDS))
        raise Reject("the breaker is open", requeue=True)

    def progress(done: int, size: int) -> None:
        now = time.monotonic()
        if now - replica.progress_sent_at < _PROGRESS_SECONDS:
            return
        replica.progress_sent_at = now
        celery_task.send_event("task-progress", result=f"{done}/{size} answered")

    return replica.runner.run_message(hint.job, progress, _lane(celery_task.request))


def _lane(request: Any) -> Lane | None:  # noqa: ANN401 - Celery's Context
    key = (request.delivery_info or {}).get("routing_key")
    return Lane(key) if key in tuple(Lane) else None
