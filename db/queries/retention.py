"""Queries that delete old batches and files in small steps.

A batch is first marked as pruned, which hides it: no retry can start, and a poller gets an error
instead of incomplete results. Then its rows are deleted in ranges. An uploaded file that no batch
uses is hidden first, then its parts are deleted.

Ids are never reused: a worker that was frozen since its job ended must not find another job
under the same id. SQLite continues from the largest id in the table, so the newest batch and
the newest job keep an empty row, which a later prune deletes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import BatchState
from db.queries.uploaded_files import BEING_DELETED, COMPLETE, INCOMPLETE
from db.tables import batches as b
from db.tables import deliveries
from db.tables import desk_answers as d
from db.tables import desk_claims as c
from db.tables import file_parts as p
from db.tables import files as f
from db.tables import jobs as j
from db.tables import openai_batches as o
from db.tables import questions as q
from db.tables import result_rows as r

_MARKED = b.c.state == BatchState.PRUNED
_QUESTION_TABLES = (r, q, c, d)  # with rows of questions
_HAS_BATCH = sa.exists().where(o.c.file_id == f.c.id)


@dataclass(frozen=True, slots=True)
class PrunableAmount:
    """The numbers of batches, questions and files to prune."""

    batches: int
    questions: int
    files: int


@dataclass(frozen=True, slots=True)
class PrunableBatch:
    """A batch to prune, with its number of questions."""

    id: int
    questions: int


def amount(conn: sa.Connection, before: datetime, uploaded: datetime) -> PrunableAmount:
    """Count the batches and files to prune.

    Batches that an earlier prune marked and did not finish are counted, too.

    Args:
        conn: the transaction.
        before: prune batches that finished, and files that were stored, before this time.
        uploaded: prune incomplete uploads that began before this time.
    """
    marked = sa.and_(_MARKED, b.c.question_count > 0)
    questions = sa.func.coalesce(sa.func.sum(b.c.question_count), 0)
    query = sa.select(sa.func.count(), questions).where(sa.or_(marked, _old(before)))
    count, total = conn.execute(query).one()
    files = sa.select(sa.func.count()).select_from(f).where(_unreferenced(before, uploaded))
    return PrunableAmount(count, int(total), int(conn.scalar(files) or 0))


def _old(before: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(b.c.finished_at < before, b.c.state != BatchState.PRUNED)


def begun(conn: sa.Connection) -> list[PrunableBatch]:
    """Return the batches that an earlier prune marked and did not finish."""
    query = sa.select(b.c.id, b.c.question_count).where(_MARKED).order_by(b.c.id)
    return [PrunableBatch(*row) for row in conn.execute(query)]


def finished(
    conn: sa.Connection, before: datetime, *, after: int, limit: int
) -> list[PrunableBatch]:
    """Return the next batches after an id that finished before a time."""
    query = (
        sa.select(b.c.id, b.c.question_count)
        .where(b.c.id > after, _old(before))
        .order_by(b.c.id)
        .limit(limit)
    )
    return [PrunableBatch(*row) for row in conn.execute(query)]


def mark(conn: sa.Connection, ids: Sequence[int], before: datetime) -> list[int]:
    """Mark the batches that are still old as pruned, and return their ids.

    This hides them, frees their names, and deletes their source, digest and webhook address.
    """
    query = sa.select(b.c.id, b.c.name).where(b.c.id.in_(ids), _old(before))
    rows = conn.execute(query.order_by(b.c.id).with_for_update()).all()
    if not rows:
        return []
    conn.execute(o.delete().where(o.c.name.in_([row.name for row in rows])))
    marked = [row.id for row in rows]
    # No user can choose this name, because it is not printable.
    name = sa.literal("\t") + sa.cast(b.c.id, sa.Text)
    values = {"state": BatchState.PRUNED, "name": name, "source": "", "idempotency_key": ""}
    values |= {"webhook": None}
    conn.execute(b.update().where(b.c.id.in_(marked)).values(values))
    conn.execute(d.delete().where(d.c.batch_id.in_(marked)))
    return marked


def first_position(conn: sa.Connection, batch_id: int) -> int | None:
    """Return the position of a batch's first stored question, or None."""
    position: int | None = conn.scalar(
        sa.select(q.c.position).where(q.c.batch_id == batch_id).order_by(q.c.position).limit(1)
    )
    return position


def delete_range(conn: sa.Connection, batch_id: int, first: int, last: int) -> bool:
    """Delete a marked batch's questions in a range, with results and jobs.

    Returns:
        Whether the batch still existed, so that the caller must continue.
    """
    # Locked, so that two prunes of one batch run one after the other.
    lock = sa.select(b.c.id).where(b.c.id == batch_id, _MARKED).with_for_update()
    if conn.execute(lock).first() is None:
        return False
    for table in _QUESTION_TABLES:
        within = table.c.position.between(first, last)
        conn.execute(table.delete().where(table.c.batch_id == batch_id, within))
    _delete_jobs(conn, j.c.batch_id == batch_id, j.c.first_position.between(first, last))
    return True


def delete(conn: sa.Connection, ids: Sequence[int]) -> None:
    """Delete the remaining rows of marked batches."""
    for table in (*_QUESTION_TABLES, deliveries):
        conn.execute(table.delete().where(table.c.batch_id.in_(ids)))
    _delete_jobs(conn, j.c.batch_id.in_(ids))
    conn.execute(j.update().where(j.c.batch_id.in_(ids)).values(error=None, owner=None))
    newest = sa.select(sa.func.max(b.c.id)).scalar_subquery()
    empty = ~sa.exists().where(j.c.batch_id == b.c.id)
    conn.execute(b.delete().where(b.c.id.in_(ids), b.c.id < newest, empty))
    conn.execute(b.update().where(b.c.id.in_(ids)).values(question_count=0))


def _delete_jobs(conn: sa.Connection, *chosen: sa.ColumnElement[bool]) -> None:
    newest = sa.select(sa.func.max(j.c.id)).scalar_subquery()
    conn.execute(j.delete().where(*chosen, j.c.id < newest))


def _unreferenced(before: datetime, uploaded: datetime) -> sa.ColumnElement[bool]:
    abandoned = sa.and_(f.c.bytes == INCOMPLETE, f.c.created_at < uploaded)
    unused = sa.and_(COMPLETE, f.c.created_at < before, ~_HAS_BATCH)
    return sa.or_(f.c.bytes == BEING_DELETED, abandoned, unused)


def unreferenced_files(conn: sa.Connection, before: datetime, uploaded: datetime) -> list[str]:
    """Return the ids of old files without a batch, and of abandoned uploads."""
    return list(conn.scalars(sa.select(f.c.id).where(_unreferenced(before, uploaded))))


def hide_file(conn: sa.Connection, file_id: str, before: datetime, uploaded: datetime) -> bool:
    """Hide a file if it is still unreferenced, and return whether it was."""
    unreferenced = _unreferenced(before, uploaded)
    hide = f.update().where(f.c.id == file_id, unreferenced).values(bytes=BEING_DELETED)
    return conn.execute(hide).rowcount == 1


def delete_parts(conn: sa.Connection, file_id: str, limit: int) -> bool:
    """Delete some parts of a hidden file, and return whether none is left.

    With the last part, the file's row is deleted.
    """
    of_file = p.c.file_id == file_id
    query = sa.select(p.c.number).where(of_file).order_by(p.c.number).limit(limit)
    numbers = list(conn.scalars(query))
    conn.execute(p.delete().where(of_file, p.c.number.in_(numbers)))
    if len(numbers) == limit:
        return False
    conn.execute(f.delete().where(f.c.id == file_id, f.c.bytes == BEING_DELETED))
    return True
