"""Use case: ask one question, a batch of its own on the interactive lane, and wait for it."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from broker.client import check
from core.domain.batch import Batch, Lane, Question
from core.errors import BatchUnknown, SourceChanged, SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches, results
from db.session import reading, transaction
from producer.monitoring import spans
from producer.question_files.validation import question_fault
from producer.submission.admission import AdmissionControl
from producer.submission.dispatch import JobDispatcher
from producer.submission.insert import insert_questions
from producer.submission.redaction import redact

if TYPE_CHECKING:
    from celery import Celery

_TOLD = (
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
PREFIX = "ask-"  # of the names of batches that are one question
_SHORTEST_POLL, _LONGEST_POLL, _SLOWER = 0.01, 0.1, 1.3  # seconds, seconds, factor


@dataclass(frozen=True, slots=True)
class SingleQuestion:
    """The batch of one question, and its result if there is one yet."""

    batch: Batch
    result: sa.Row[Any] | None

    def document(self) -> dict[str, Any]:
        """Return what `ask --json` prints; `status` is null until there is a result."""
        found = None if self.result is None else self.result._mapping  # noqa: SLF001 - Row's public mapping
        values = {name: None if found is None else found[name] for name in _TOLD}
        return {"batch": self.batch.id, "name": self.batch.name, **values}


def ask(
    engine: sa.Engine, app: Celery, settings: Settings, text: str, *, wait: timedelta
) -> SingleQuestion:
    """Submit the question; return as soon as it is final, or when the time is up.

    Raises:
        SourceInvalid: it is blank or can't be stored.
        ServiceUnavailable: the database or Redis can't be reached.
        BacklogFull: too many questions wait already.
    """
    until = time.monotonic() + wait.total_seconds()
    batch = submit_question(engine, app, settings, text)
    return SingleQuestion(batch, _wait(engine, batch, until))


def submit_question(
    engine: sa.Engine,
    app: Celery,
    settings: Settings,
    text: str,
    *,
    source: str = "ask",
    token: str | None = None,
    clock: DatabaseClock | None = None,
) -> Batch:
    """Submit the question without waiting.

    Two calls with the same `token` submit once.

    Raises:
        SourceInvalid: it is blank or can't be stored.
        SourceChanged: the token came with another question before.
        ServiceUnavailable: the database or Redis can't be reached.
        BacklogFull: too many questions wait already.
    """
    problem = "it is blank" if not text.strip() else question_fault(text)
    if problem:
        raise SourceInvalid("the question", problem)
    check(app, settings)
    name = PREFIX + (token or uuid.uuid4().hex)
    # By a digest of what was taken out, whoever guesses it could be sure.
    digest = hashlib.sha256(redact(text, settings.redacted).encode()).hexdigest()
    if token is not None and (before := _again(engine, name, digest)) is not None:
        return before
    clock = clock or DatabaseClock(engine)
    AdmissionControl(engine, settings, Lane.INTERACTIVE, clock).reserve(1)
    now, sender = clock(), JobDispatcher(app, settings)
    try:
        batch = _submit(
            engine,
            settings,
            sender,
            text,
            name=name,
            source=source,
            idempotency_key=digest,
            now=now,
        )
    except IntegrityError:  # the token's second time, at the same time
        found = _again(engine, name, digest)
        if found is None:
            raise
        return found
    spans.record_submission(engine, settings, batch, start=now, end=clock(), questions=1)
    return batch


def _again(engine: sa.Engine, name: str, digest: str) -> Batch | None:
    with reading(engine) as conn:
        found = batches.named(conn, name)
    if found is not None and not batches.is_made_of(found, digest):
        raise SourceChanged(name, found.id)
    return found


def answered(engine: sa.Engine, name: str) -> SingleQuestion:
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
        return SingleQuestion(batch, results.one(conn, batch.id, 1))


def looked_up(engine: sa.Engine, name: str) -> tuple[SingleQuestion, str]:
    """Look up a question by the name of its batch; return its text as well.

    Raises:
        BatchUnknown: no question was asked under that name.
    """
    found = answered(engine, name)
    with reading(engine) as conn:
        ((_, _, text),) = results.texts(conn, found.batch.id, limit=1)
    return found, text


def _submit(
    engine: sa.Engine,
    settings: Settings,
    sender: JobDispatcher,
    text: str,
    *,
    name: str,
    source: str,
    idempotency_key: str,
    now: datetime,
) -> Batch:
    sent = sender.room(Lane.INTERACTIVE) > 0
    question = Question(position=1, key="1", text=text)
    with transaction(engine) as conn:
        batch = batches.create(
            conn,
            name=name,
            idempotency_key=idempotency_key,
            lane=Lane.INTERACTIVE,
            source=source,
            now=now,
        )
        messages = insert_questions(conn, settings, batch, [question], sent=sent, now=now)
        batches.seal(conn, batch, now)
    if sent:
        sender.send(messages)
    return batch


def _wait(engine: sa.Engine, batch: Batch, until: float) -> sa.Row[Any] | None:
    poll = _SHORTEST_POLL
    while True:
        with reading(engine) as conn:
            found = results.one(conn, batch.id, 1)
        left = until - time.monotonic()
        if found is not None or left <= 0:
            return found
        time.sleep(min(poll, left))
        poll = min(poll * _SLOWER, _LONGEST_POLL)
