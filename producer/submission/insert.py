"""The one door by which questions come into the database.

What is taken out of them is taken out here, whichever way they came.
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
    """Add the next questions of an open batch, redacted if that is set; return their messages.

    Args:
        conn: the transaction.
        settings: how large jobs are, and what is taken out.
        batch: an open one.
        questions: its next ones.
        sent: the caller is about to send the messages, once this is committed.
        now: the time.

    Raises:
        BatchClosed: the batch is not open, or another submission of it is ahead of this one.
    """
    take_out = redactor(settings.redacted)
    taken = questions if take_out is None else [take_out(question) for question in questions]
    return question_rows.append(conn, batch, taken, job_size=settings.job_size, sent=sent, now=now)
