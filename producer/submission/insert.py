"""Insertion of questions into the database.

Every producer calls this function, so that none bypasses redaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import Batch, Question
from core.messages import AnswerJob
from core.settings.settings import Settings
from db.queries import questions as question_rows
from producer.submission.redaction import redactor


def insert_questions(
    conn: sa.Connection,
    settings: Settings,
    batch: Batch,
    questions: Sequence[Question],
    *,
    sent: bool,
    now: datetime,
) -> list[AnswerJob]:
    """Insert the next questions of an open batch, and return their messages.

    Args:
        conn: the transaction.
        settings: the size of jobs and the kinds of text to redact.
        batch: an open batch.
        questions: its next questions.
        sent: whether the caller sends the messages after its commit.
        now: the time.

    Raises:
        BatchClosed: the batch is not open, or another submission of it inserted these questions.
    """
    redact = redactor(settings.redacted)
    redacted = questions if redact is None else [redact(question) for question in questions]
    return question_rows.append(
        conn, batch, redacted, job_size=settings.job_size, sent=sent, now=now
    )
