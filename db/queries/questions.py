"""Queries that insert the questions of a batch and their jobs.

Not covered: reading questions, which is done next to their results (`db.queries.results`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import Batch, BatchState, Question
from core.domain.job import JobState
from core.errors import BatchClosed
from core.messages import AnswerJob
from db import dialect
from db.queries.batches import find, message
from db.tables import batches as b
from db.tables import jobs as j
from db.tables import questions as q

_COLUMNS = ("batch_id", *Question._fields)


def append(
    conn: sa.Connection,
    batch: Batch,
    questions: Sequence[Question],
    *,
    job_size: int,
    sent: bool,
    now: datetime,
) -> list[AnswerJob]:
    """Insert the next questions of an open batch, and their jobs.

    Args:
        conn: the transaction.
        batch: the batch.
        questions: the questions, with consecutive positions.
        job_size: the highest number of questions of a job.
        sent: whether the caller sends the messages after the commit.
        now: the time.

    Returns:
        The messages of the jobs.

    Raises:
        BatchClosed: the batch is not open, or another process has added these positions.
    """
    _count_questions(conn, batch, questions[0].position, len(questions))
    dialect.insert_many(conn, q, _COLUMNS, [(batch.id, *question) for question in questions])
    jobs = [
        {
            "batch_id": batch.id,
            "lane": batch.lane,
            "state": JobState.QUEUED,
            "first_position": questions[start].position,
            "last_position": questions[min(start + job_size, len(questions)) - 1].position,
            "sent_at": now if sent else None,
            "created_at": now,
        }
        for start in range(0, len(questions), job_size)
    ]
    rows = conn.execute(j.insert().returning(j, sort_by_parameter_order=True), jobs)
    return [message(row) for row in rows]


def _count_questions(conn: sa.Connection, batch: Batch, first: int, count: int) -> None:
    updated = conn.execute(
        b.update()
        .where(b.c.id == batch.id, b.c.state == BatchState.OPEN, b.c.question_count == first - 1)
        .values(question_count=first - 1 + count)
    )
    if updated.rowcount == 0:
        current = find(conn, str(batch.id)).state
        is_open = current == BatchState.OPEN
        state = "being submitted by another process" if is_open else current
        raise BatchClosed(batch.id, state, "added to")
