"""Use case: open a batch, add questions to it time after time, seal it when all are in.

Workers answer what is added at once; the batch can't end before it is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, BatchState, Lane, Question
from core.errors import BatchClosed, CountDiffers, SourceChanged, SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches
from db.session import reading, transaction
from producer.monitoring import spans
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions

if TYPE_CHECKING:
    from celery import Celery

_OPENED = "opened"  # the idempotency key of what was made of no file


def open_batch(
    engine: sa.Engine,
    *,
    name: str,
    source: str,
    lane: Lane = Lane.BULK,
    deadline: timedelta | None = None,
    webhook: str | None = None,
) -> Batch:
    """Return a new batch that takes questions, or the one that was opened under this name.

    The caller has looked at the webhook's address.

    Raises:
        SourceChanged: a batch made of a file has the name.
    """
    now = DatabaseClock(engine)()
    try:
        with transaction(engine) as conn:
            return batches.create(
                conn,
                name=name,
                idempotency_key=_OPENED,
                lane=lane,
                source=source,
                now=now,
                deadline=None if deadline is None else now + deadline,
                webhook=webhook,
            )
    except IntegrityError:
        with reading(engine) as conn:
            found = batches.find(conn, name)
    if not batches.is_made_of(found, _OPENED):
        raise SourceChanged(name, found.id)
    return found


def append(
    engine: sa.Engine,
    app: Celery,
    settings: Settings,
    ref: str,
    asked: Sequence[Question],
    *,
    after: int | None = None,
) -> Batch:
    """Add all of these questions, or none; return the batch as it is then.

    Args:
        engine: the database.
        app: a client of Redis.
        settings: how large jobs are.
        ref: the batch's id or name.
        asked: their positions count from 1 here and go on behind the batch's last there;
            a key that is empty becomes the position.
        after: how many questions the batch is thought to have; None: however many.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it takes no more questions.
        CountDiffers: it has another number of questions than `after`.
        SourceInvalid: it has one of the keys already.
        ServiceUnavailable: the database or Redis can't be reached.
        BacklogFull: too many questions wait already.
        BatchTooLarge: so many may never wait.
    """
    check(app, settings)
    clock = DatabaseClock(engine)
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    if batch.state is not BatchState.OPEN:
        raise BatchClosed(batch.id, batch.state, "added to")
    if after is not None and batch.question_count != after:
        raise CountDiffers(batch.id, batch.question_count, after)
    AdmissionControl(engine, settings, batch.lane, clock).check_capacity(len(asked))
    sender = JobDispatcher(app, settings)
    now = clock()
    _store(engine, settings, batch, asked, sender=sender, now=now)
    spans.record_submission(engine, settings, batch, start=now, end=clock(), questions=len(asked))
    with reading(engine) as conn:
        return batches.find(conn, str(batch.id))


def _store(
    engine: sa.Engine,
    settings: Settings,
    batch: Batch,
    asked: Sequence[Question],
    *,
    sender: JobDispatcher,
    now: datetime,
) -> None:
    placed = [_positioned(question, batch.question_count) for question in asked]
    sent = sender.room(batch.lane) > 0
    try:
        with transaction(engine) as conn:
            messages = insert_questions(conn, settings, batch, placed, sent=sent, now=now)
    except IntegrityError as error:
        problem = "a key comes twice, or is in the batch already"
        raise SourceInvalid("the questions", problem) from error
    if sent:
        sender.send(messages)


def _positioned(question: Question, before: int) -> Question:
    position = before + question.position
    return question._replace(position=position, key=question.key or str(position))


def seal(engine: sa.Engine, ref: str) -> Batch:
    """Say that all questions are in; once more does no harm.

    Raises:
        BatchUnknown: there is no such batch.
        BatchClosed: it was cancelled or has expired.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        batches.seal(conn, batch, now)
        sealed = batches.find(conn, str(batch.id))
    if sealed.state not in (BatchState.SEALED, BatchState.DONE):
        raise BatchClosed(batch.id, sealed.state, "sealed")
    return sealed
