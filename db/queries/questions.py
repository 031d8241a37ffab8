"""CAPTION db.queries.questions."""

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

_QUESTION_COLUMNS = ("batch_id", *Question._fields)


def append(
    conn: sa.Connection,
    batch: Batch,
    questions: Sequence[Question],
    *,
    job_size: int,
    sent: bool,
    now: datetime,
) -> list[AnswerJob]:
    """Add the next questions of an open batch, cut into jobs; return the jobs' messages.

    `sent` says that the caller is about to send them, once this is committed.

    Raises:
        BatchClosed: the batch is not open, or another submission of it is ahead of this one.
    """
    first = questions[0].position
    moved = conn.execute(
        b.update()
        .where(b.c.id == batch.id, b.c.state == BatchState.OPEN, b.c.question_count == first - 1)
        .values(question_count=first - 1 + len(questions))
    )
    if moved.rowcount == 0:
        now_at = find(conn, str(batch.id))
        state = (
            "being submitted by another process"
            if now_at.state == BatchState.OPEN
            else now_at.state
        )
        raise BatchClosed(batch.id, state, "added to")
    dialect.insert_many(
        conn,
        q,
        _QUESTION_COLUMNS,
        [(batch.id, *question) for question in questions],
    )
    values = [
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
    rows = conn.execute(j.insert().returning(j, sort_by_parameter_order=True), values)
    return [message(row) for row in rows]
