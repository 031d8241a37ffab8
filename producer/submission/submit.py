"""Use case: store the questions of a file and send their jobs.

Each slice is committed before its jobs are sent. If a submission is interrupted, the same call
continues after the last committed slice: no question is lost or stored twice.

A batch keeps the digest of its file. The same file under the same name is the same submission;
another file under that name is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, BatchState, Lane
from core.errors import BacklogFull, SourceChanged
from db.clock import DatabaseClock
from db.queries import batches
from db.session import reading, transaction
from producer.connections import ProducerContext
from producer.monitoring import spans
from producer.question_files.question_file import CheckedFile
from producer.submission.admission import AdmissionControl, WhenFull
from producer.submission.batch_name import name_of
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions
from producer.submission.slices import unstored_slices
from producer.webhooks.signed_post import target_of


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A file to submit, and the properties of a batch that it creates.

    All fields but `file`, `name` and `when_full` have an effect on a new batch only.
    """

    file: CheckedFile
    name: str | None = None  # None: derived from the file
    lane: Lane = Lane.BULK
    deadline: timedelta | datetime | None = None
    model: str | None = None
    origin: str | None = None  # shown as the batch's source; None: the file name
    webhook: str | None = None  # URL
    when_full: WhenFull = WhenFull.WAIT


@dataclass(frozen=True, slots=True)
class SubmitCallbacks:
    """Functions that a submission calls as it makes progress."""

    on_progress: Callable[[int], None] = lambda _: None  # with the number of stored questions
    on_redis_unavailable: Callable[[], None] = lambda: None  # once
    on_full: Callable[[BacklogFull], None] = lambda _: None  # when a wait for capacity begins


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """The batch of a submission."""

    batch: Batch  # as it was found or created
    questions: int
    resumed: bool  # an interrupted submission was continued
    already: bool  # all questions were stored already

    def document(self) -> dict[str, Any]:
        """Return the document that `submit --json` prints."""
        return {
            "batch": self.batch.id,
            "name": self.batch.name,
            "questions": self.questions,
            "resumed": self.resumed,
            "already": self.already,
        }


_NO_CALLBACKS = SubmitCallbacks()


def submit(
    context: ProducerContext, request: SubmitRequest, callbacks: SubmitCallbacks = _NO_CALLBACKS
) -> SubmitResult:
    """Store and send the questions that are not stored yet.

    Raises:
        ServiceUnavailable: the database, or Redis at the start, cannot be reached.
        BacklogFull: the questions do not fit, and `when_full` is STOP. Nothing was stored, unless
            other producers filled the backlog meanwhile: the same call then continues.
        UserError: the name or the webhook is invalid, or another process submits the same file.
    """
    settings, file = context.settings, request.file
    if request.webhook is not None:
        target_of(request.webhook, private=settings.webhook_private)
    name = name_of(file, request.name)
    check(context.client, settings)
    clock = DatabaseClock(context.engine)
    unstored, lane = _unstored(context.engine, request, name)
    admission = AdmissionControl(context.engine, settings, lane, clock)
    if unstored and request.when_full is WhenFull.STOP:
        admission.check_capacity(unstored)
    batch, created = _find_or_create(context.engine, request, name, lane, clock())
    if batch.state is not BatchState.OPEN:
        return SubmitResult(batch, batch.question_count, resumed=False, already=True)
    start = clock()
    _store(context, request, callbacks, batch=batch, admission=admission, clock=clock)
    spans.record_submission(context, batch, start=start, end=clock(), questions=unstored)
    return SubmitResult(batch, file.count, resumed=not created, already=False)


def _unstored(engine: sa.Engine, request: SubmitRequest, name: str) -> tuple[int, Lane]:
    """Return how many questions are not stored, and their lane."""
    file = request.file
    with reading(engine) as conn:
        batch = batches.named(conn, name)
    if batch is None or not batches.is_made_of(batch, file.digest):
        return file.count, request.lane
    is_open = batch.state is BatchState.OPEN
    return file.count - batch.question_count if is_open else 0, batch.lane


def _find_or_create(
    engine: sa.Engine, request: SubmitRequest, name: str, lane: Lane, now: datetime
) -> tuple[Batch, bool]:
    """Return the batch, and whether it was created."""
    try:
        with transaction(engine) as conn:
            batch = batches.named(conn, name)
            if batch is None:
                return _create(conn, request, name, lane, now), True
    except IntegrityError:
        # Another process took the name after the lookup, perhaps for the same file.
        with reading(engine) as conn:
            batch = batches.find(conn, name)
    if not batches.is_made_of(batch, request.file.digest):
        raise SourceChanged(name, batch.id)
    return batch, False


def _create(
    conn: sa.Connection, request: SubmitRequest, name: str, lane: Lane, now: datetime
) -> Batch:
    origin = request.origin or request.file.source.display_name
    deadline = request.deadline
    return batches.create(
        conn,
        name=name,
        idempotency_key=request.file.digest,
        lane=lane,
        source="".join(c if c.isprintable() else "?" for c in origin),
        now=now,
        deadline=now + deadline if isinstance(deadline, timedelta) else deadline,
        model=request.model,
        webhook=request.webhook,
    )


def _store(
    context: ProducerContext,
    request: SubmitRequest,
    callbacks: SubmitCallbacks,
    *,
    batch: Batch,
    admission: AdmissionControl,
    clock: DatabaseClock,
) -> None:
    settings = context.settings
    dispatcher = JobDispatcher(context.client, settings, callbacks.on_redis_unavailable)
    size = min(admission.limit, settings.slice_jobs * settings.job_size)
    callbacks.on_progress(batch.question_count)
    for questions in unstored_slices(request.file, batch, size):
        admission.reserve(len(questions), request.when_full, callbacks.on_full)
        sent, now = dispatcher.free_slots(batch.lane) > 0, clock()
        with transaction(context.engine) as conn:
            messages = insert_questions(conn, settings, batch, questions, sent=sent, now=now)
        callbacks.on_progress(questions[-1].position)
        if sent:
            dispatcher.send(messages)
    now = clock()
    with transaction(context.engine) as conn:
        batches.seal(conn, batch, now)
