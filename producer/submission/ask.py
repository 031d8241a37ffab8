"""Use case: ask one question and wait for its answer.

The question is a batch of its own on the interactive lane.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, Lane, Question
from core.errors import BatchUnknown, SourceChanged, SourceInvalid
from db.clock import DatabaseClock
from db.queries import batches, results
from db.session import reading, transaction
from producer.connections import ProducerContext
from producer.monitoring import spans
from producer.question_files.validation import question_fault
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions
from producer.submission.redaction import redact

_RESULT_FIELDS = (
    "status",
    "answer",
    "entry_id",
    "matched",
    "confidence",
    "reason",
    "error",
    "model_version",
    "answered_at",
    "url",
    "runners_up",
)
PREFIX = "ask-"  # of the name of every batch that is one question
_MIN_POLL_SECONDS, _MAX_POLL_SECONDS, _POLL_GROWTH = 0.01, 0.1, 1.3


@dataclass(frozen=True, slots=True)
class SingleQuestion:
    """The batch of one question, and its result if there is one."""

    batch: Batch
    result: sa.Row[Any] | None

    def document(self) -> dict[str, Any]:
        """Return the document of `ask --json`, with null without a result."""
        result = None if self.result is None else self.result._mapping  # noqa: SLF001 - Row's public mapping
        values = {name: None if result is None else result[name] for name in _RESULT_FIELDS}
        return {"batch": self.batch.id, "name": self.batch.name, **values}


def ask(context: ProducerContext, text: str, *, wait: timedelta) -> SingleQuestion:
    """Submit the question, and return when it is final or the time is up.

    Raises:
        SourceInvalid: the question is blank or cannot be stored.
        ServiceUnavailable: the database or Redis cannot be reached.
        BacklogFull: too many questions wait already.
    """
    until = time.monotonic() + wait.total_seconds()
    batch = submit_question(context, text)
    return SingleQuestion(batch, _wait(context.engine, batch, until))


def submit_question(
    context: ProducerContext,
    text: str,
    *,
    source: str = "ask",
    token: str | None = None,
    clock: DatabaseClock | None = None,
) -> Batch:
    """Submit the question without waiting.

    Two calls with one `token` submit once.

    Raises:
        SourceInvalid: the question is blank or cannot be stored.
        SourceChanged: an earlier call used the token for another question.
        ServiceUnavailable: the database or Redis cannot be reached.
        BacklogFull: too many questions wait already.
    """
    engine, settings = context.engine, context.settings
    problem = "the text is blank" if not text.strip() else question_fault(text)
    if problem:
        raise SourceInvalid("the question", problem)
    check(context.client, settings)
    name = PREFIX + (token or uuid.uuid4().hex)
    # The digest of an unredacted text would confirm a guess of the redacted part.
    digest = hashlib.sha256(redact(text, settings.redacted).encode()).hexdigest()
    if token is not None and (earlier := _find_earlier(engine, name, digest)) is not None:
        return earlier
    clock = clock or DatabaseClock(engine)
    AdmissionControl(engine, settings, Lane.INTERACTIVE, clock).reserve(1)
    start = clock()
    try:
        batch = _store(context, text, name=name, source=source, digest=digest, now=start)
    except IntegrityError:  # a concurrent call with the same token was faster
        earlier = _find_earlier(engine, name, digest)
        if earlier is None:
            raise
        return earlier
    spans.record_submission(context, batch, start=start, end=clock(), questions=1)
    return batch


def _find_earlier(engine: sa.Engine, name: str, digest: str) -> Batch | None:
    with reading(engine) as conn:
        batch = batches.named(conn, name)
    if batch is not None and not batches.is_made_of(batch, digest):
        raise SourceChanged(name, batch.id)
    return batch


def _store(
    context: ProducerContext, text: str, *, name: str, source: str, digest: str, now: datetime
) -> Batch:
    dispatcher = JobDispatcher(context.client, context.settings)
    sent = dispatcher.free_slots(Lane.INTERACTIVE) > 0
    questions = [Question(position=1, key="1", text=text)]
    with transaction(context.engine) as conn:
        batch = batches.create(
            conn,
            name=name,
            idempotency_key=digest,
            lane=Lane.INTERACTIVE,
            source=source,
            now=now,
        )
        messages = insert_questions(conn, context.settings, batch, questions, sent=sent, now=now)
        batches.seal(conn, batch, now)
    if sent:
        dispatcher.send(messages)
    return batch


def find_question(engine: sa.Engine, name: str) -> SingleQuestion:
    """Look up a question by the name of its batch.

    Raises:
        BatchUnknown: no question was asked under that name.
    """
    if not name.startswith(PREFIX):
        raise BatchUnknown(name)
    with reading(engine) as conn:
        batch = batches.find(conn, name)
        if (batch.lane, batch.question_count) != (Lane.INTERACTIVE, 1):
            raise BatchUnknown(name)
        return SingleQuestion(batch, results.of_question(conn, batch.id, 1))


def find_question_and_text(engine: sa.Engine, name: str) -> tuple[SingleQuestion, str]:
    """Look up a question and its text by the name of its batch.

    Raises:
        BatchUnknown: no question was asked under that name.
    """
    question = find_question(engine, name)
    with reading(engine) as conn:
        ((_, _, text),) = results.texts(conn, question.batch.id, limit=1)
    return question, text


def _wait(engine: sa.Engine, batch: Batch, until: float) -> sa.Row[Any] | None:
    poll_seconds = _MIN_POLL_SECONDS
    while True:
        with reading(engine) as conn:
            result = results.of_question(conn, batch.id, 1)
        remaining = until - time.monotonic()
        if result is not None or remaining <= 0:
            return result
        time.sleep(min(poll_seconds, remaining))
        poll_seconds = min(poll_seconds * _POLL_GROWTH, _MAX_POLL_SECONDS)
