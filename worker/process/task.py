"""The Celery task: decode the message, call the use case.

While the breaker is open the message goes back to its lane, for a worker that is well.
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

# How often progress is told at most: an event costs as much as the queue of many questions.
_PROGRESS_SECONDS = 1.0

# How long a message is held before it goes back: short, since SIGTERM waits for it.
_REJECT_DELAY_SECONDS = 1.0


@dataclass(slots=True)
class Replica:
    """What a child process holds, once it has begun."""

    runner: JobRunner
    breaker: CircuitBreaker
    progress_sent_at: float = float("-inf")  # when progress was told last


@dataclass(slots=True)
class ReplicaSlot:
    """Where a process puts its child's things, which the task finds there."""

    replica: Replica | None = None


def register(app: Celery, place: ReplicaSlot) -> None:
    """Give the app its one task."""

    # The app's own: a shared one every other app of the process would be given as well.
    @app.task(
        name=TASK, bind=True, shared=False, Strategy="worker.process.consumer:validated_strategy"
    )  # type: ignore[untyped-decorator]  # Celery has no annotations
    def answer(self: Any, *_: object, **wire: Any) -> dict[str, object]:  # noqa: ANN401
        try:
            hint = JobHint.decode(wire)
        except MessageInvalid as error:
            # The job stays queued in SQL; the sweep sends a message that we can read.
            log.error("message refused", error=str(error))  # noqa: TRY400 - no traceback wanted
            return {"refused": str(error)}
        child = place.replica
        if child is None:
            msg = "a task came before the model was loaded"
            raise RuntimeError(msg)
        if waits := child.breaker.seconds_to_wait():
            time.sleep(min(waits, _REJECT_DELAY_SECONDS))
            raise Reject("the breaker is open", requeue=True)

        def progress(done: int, size: int) -> None:
            now = time.monotonic()
            if now - child.progress_sent_at < _PROGRESS_SECONDS:
                return
            child.progress_sent_at = now
            self.send_event("task-progress", result=f"{done}/{size} answered")

        return child.runner.run_message(hint.job, progress, _lane(self.request))


def _lane(request: Any) -> Lane | None:  # noqa: ANN401 - Celery's Context
    key = (request.delivery_info or {}).get("routing_key")
    return Lane(key) if key in tuple(Lane) else None
