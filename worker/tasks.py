"""The Celery task: decode the message, call the use case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery

from db.errors import MessageInvalid
from db.messages import TASK, JobHint
from worker.along import Line

log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """What a child process holds, once it has begun."""

    line: Line | None = None


def register(app: Celery, child: Child) -> None:
    """Give the app its one task."""

    @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]  # Celery has no annotations
    def answer(self: Any, *_: object, **wire: Any) -> dict[str, object]:  # noqa: ANN401
        try:
            hint = JobHint.decode(wire)
        except MessageInvalid as error:
            # The job stays queued in SQL; the sweep sends a message that we can read.
            log.error("message refused", error=str(error))  # noqa: TRY400 - no traceback wanted
            return {"refused": str(error)}
        if child.line is None:
            msg = "a task came before the model was loaded"
            raise RuntimeError(msg)

        def progress(done: int, size: int) -> None:
            self.send_event("task-progress", result=f"{done}/{size} answered")

        return child.line.answer(hint.job, progress)
