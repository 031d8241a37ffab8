"""Use case: store a file's questions slice by slice, each committed before its jobs are sent.

Killed anywhere and run again, it goes on behind what is committed: nothing is lost, nothing
doubled. What a batch was made of is known by its digest, so the same file under the same
name is the same submission, and another file under that name is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, BatchState, Lane, Question
from core.errors import BacklogFull, SourceChanged, SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches
from db.session import reading, transaction
from producer.monitoring import spans
from producer.question_files.question_file import CheckedFile
from producer.submission.admission import AdmissionControl, WhenFull
from producer.submission.batch_name import name_of
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions
from producer.submission.prefetch import prefetch
from producer.webhooks.signed_post import target_of

if TYPE_CHECKING:
    from celery import Celery

_SLICE_CHARS = 1 << 20  # ends a slice of long questions early: memory stays bounded


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of a submission."""

    batch: Batch  # as it was found or made
    questions: int
    resumed: bool  # carried on with one that was interrupted
    already: bool  # there was nothing left to do

    def document(self) -> dict[str, Any]:
        """Return what `submit --json` prints."""
        return {
            "batch": self.batch.id,
            "name": self.batch.name,
            "questions": self.questions,
            "resumed": self.resumed,
            "already": self.already,
        }


def submit(
    engine: sa.Engine,
    app: Celery,
    settings: Settings,
    source: CheckedFile,
    *,
    name: str | None = None,
    lane: Lane = Lane.BULK,
    deadline: timedelta | datetime | None = None,
    model: str | None = None,
    origin: str | None = None,
    webhook: str | None = None,
    when_full: WhenFull = WhenFull.WAIT,
    on_progress: Callable[[int], None] = lambda _: None,
    on_away: Callable[[], None] = lambda: None,
    on_full: Callable[[BacklogFull], None] = lambda _: None,
) -> SubmitResult:
    """Store and send what is not stored yet.

    Lane, deadline, model, origin and webhook are a new batch's. `origin` is told as its source;
    unless given, the file's name.
    `on_progress` is told how many questions are stored; `on_away` once, when Redis goes away;
    `on_full` when it begins to wait for room.

    Raises:
        ServiceUnavailable: the database, or Redis at the start, can't be reached.
        BacklogFull: too many questions wait, and it is not to wait. Nothing was stored, unless
            others filled the system meanwhile: then slices, which the same call goes on behind.
        UserError: the name or the webhook can't be had, or another process submits the same.
    """
    if webhook is not None:
        target_of(webhook, private=settings.webhook_private)
    named = name_of(source, name)
    check(app, settings)
    clock = DatabaseClock(engine)
    left, lane = _left_to_store(engine, source, named, lane)
    room = AdmissionControl(engine, settings, lane, clock)
    if left and when_full is WhenFull.STOP:
        room.check_capacity(left)
    due = clock() + deadline if isinstance(deadline, timedelta) else deadline
    told = {"deadline": due, "model": model, "webhook": webhook}
    batch, made = _find_or_create(
        engine, source, named, lane=lane, origin=origin, now=clock(), **told
    )
    if batch.state is not BatchState.OPEN:
        return SubmitResult(batch, batch.question_count, resumed=False, already=True)
    sender = JobDispatcher(app, settings, on_away)

    def make_room(count: int) -> None:
        room.reserve(count, when_full, on_full)

    size = min(room.limit, settings.slice_jobs * settings.job_size)
    began = clock()
    _store(
        engine,
        settings,
        source,
        batch,
        size=size,
        make_room=make_room,
        sender=sender,
        clock=clock,
        on_progress=on_progress,
    )
    spans.record_submission(engine, settings, batch, start=began, end=clock(), questions=left)
    return SubmitResult(batch, source.count, resumed=not made, already=False)


def _left_to_store(
    engine: sa.Engine, source: CheckedFile, name: str, lane: Lane
) -> tuple[int, Lane]:
    """Return how many questions are not stored, and the lane in which they will wait."""
    with reading(engine) as conn:
        found = batches.named(conn, name)
    if found is None or not batches.is_made_of(found, source.digest):
        return source.count, lane
    open_ = found.state is BatchState.OPEN
    return source.count - found.question_count if open_ else 0, found.lane


def _find_or_create(
    engine: sa.Engine,
    source: CheckedFile,
    name: str,
    *,
    lane: Lane,
    origin: str | None,
    now: datetime,
    **more: Any,  # noqa: ANN401 - what else a batch is made of
) -> tuple[Batch, bool]:
    try:
        with transaction(engine) as conn:
            found = batches.named(conn, name)
            if found is None:
                told = origin or source.source.display_name
                shown = "".join(c if c.isprintable() else "?" for c in told)
                made = batches.create(
                    conn,
                    name=name,
                    idempotency_key=source.digest,
                    lane=lane,
                    source=shown,
                    now=now,
                    **more,
                )
                return made, True
    except IntegrityError:
        # Another process took the name in between, perhaps for the same file.
        with reading(engine) as conn:
            found = batches.find(conn, name)
    if not batches.is_made_of(found, source.digest):
        raise SourceChanged(name, found.id)
    return found, False


def _store(
    engine: sa.Engine,
    settings: Settings,
    source: CheckedFile,
    batch: Batch,
    *,
    size: int,
    make_room: Callable[[int], None],
    sender: JobDispatcher,
    clock: DatabaseClock,
    on_progress: Callable[[int], None],
) -> None:
    on_progress(batch.question_count)
    for questions in _unchanged(source, batch, size):
        make_room(len(questions))
        sent, now = sender.room(batch.lane) > 0, clock()
        with transaction(engine) as conn:
            messages = insert_questions(conn, settings, batch, questions, sent=sent, now=now)
        on_progress(questions[-1].position)
        if sent:
            sender.send(messages)
    now = clock()
    with transaction(engine) as conn:
        batches.seal(conn, batch, now)


def _unchanged(source: CheckedFile, batch: Batch, size: int) -> Iterator[list[Question]]:
    hint = f"`answermill cancel {batch.id}` drops what is stored"
    change = SourceInvalid(source.source.display_name, f"it changed while it was read; {hint}")
    last = batch.question_count
    try:
        for questions in prefetch(_slices(source.questions(behind=last), size)):
            if source.changed:
                break
            last = questions[-1].position
            yield questions
    except (SourceInvalid, LookupError, RuntimeError, ValueError) as error:
        # Every row was read before without a fault.
        if source.changed:
            raise change from error
        raise
    if last != source.count:
        raise change


def _slices(questions: Iterator[Question], size: int) -> Iterator[list[Question]]:
    held: list[Question] = []
    characters = 0
    for question in questions:
        held.append(question)
        characters += len(question.text)
        if len(held) == size or characters >= _SLICE_CHARS:
            yield held
            held, characters = [], 0
    if held:
        yield held
