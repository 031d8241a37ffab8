"""Use case: open a batch, append questions to it, and seal it.

Workers answer appended questions at once. A batch cannot end before it is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, BatchState, Lane, Question
from core.errors import BatchClosed, CountDiffers, SourceChanged, SourceInvalid
from db.clock import DatabaseClock
from db.queries import batches
from db.session import reading, transaction
from producer.connections import ProducerContext
from producer.monitoring import spans
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions

_OPENED = "opened"  # the idempotency key of every batch that was not created from a file


def open_batch(
    engine: sa.Engine,
    *,
    name: str,
    source: str,
    lane: Lane = Lane.BULK,
    deadline: timedelta | None = None,
    webhook: str | None = None,
) -> Batch:
    """Return a new open batch, or the batch that was opened under this name.

    The caller must have validated the webhook's URL.

    Raises:
        SourceChanged: a batch that was created from a file has the name.
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
            batch = batches.find(conn, name)
    if not batches.is_made_of(batch, _OPENED):
        raise SourceChanged(name, batch.id)
    return batch


def append(
    context: ProducerContext, ref: str, questions: Sequence[Question], *, after: int | None = None
) -> Batch:
    """Append all of these questions, or none, and return the batch.

    Args:
        context: the settings, the database and Redis.
        ref: the batch's id or name.
        questions: with positions that count from 1 and are added to the batch's last position.
            An empty key is replaced by the position.
        after: the number of questions that the caller expects in the batch; None: any number.

    Raises:
        BatchUnknown: no batch has this id or name.
        BatchClosed: the batch is not open.
        CountDiffers: the batch has another number of questions than `after`.
        SourceInvalid: a key occurs twice.
        ServiceUnavailable: the database or Redis cannot be reached.
        BacklogFull: too many questions wait already.
        BatchTooLarge: the questions exceed the limit even in an empty system.
    """
    engine, settings = context.engine, context.settings
    check(context.client, settings)
    clock = DatabaseClock(engine)
    batch = _find_open(engine, ref, after)
    AdmissionControl(engine, settings, batch.lane, clock).check_capacity(len(questions))
    start = clock()
    dispatcher = JobDispatcher(context.client, settings)
    sent = dispatcher.free_slots(batch.lane) > 0
    numbered = [_numbered(question, batch.question_count) for question in questions]
    try:
        with transaction(engine) as conn:
            messages = insert_questions(conn, settings, batch, numbered, sent=sent, now=start)
    except IntegrityError as error:
        problem = "two questions have the same key, or the batch has one of the keys already"
        raise SourceInvalid("the questions", problem) from error
    if sent:
        dispatcher.send(messages)
    spans.record_submission(context, batch, start=start, end=clock(), questions=len(questions))
    with reading(engine) as conn:
        return batches.find(conn, str(batch.id))


def _find_open(engine: sa.Engine, ref: str, expected_count: int | None) -> Batch:
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    if batch.state is not BatchState.OPEN:
        raise BatchClosed(batch.id, batch.state, "added to")
    if expected_count is not None and batch.question_count != expected_count:
        raise CountDiffers(batch.id, batch.question_count, expected_count)
    return batch


def _numbered(question: Question, count: int) -> Question:
    position = count + question.position
    return question._replace(position=position, key=question.key or str(position))


def seal(engine: sa.Engine, ref: str) -> Batch:
    """Close a batch for further questions. A sealed batch stays sealed.

    Raises:
        BatchUnknown: no batch has this id or name.
        BatchClosed: the batch was cancelled or has expired.
    """
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        batch = batches.find(conn, ref)
        batches.seal(conn, batch, now)
        sealed = batches.find(conn, str(batch.id))
    if sealed.state not in (BatchState.SEALED, BatchState.DONE):
        raise BatchClosed(batch.id, sealed.state, "sealed")
    return sealed
