"""Pruning: what has finished long ago is deleted in small steps. None commits.

A batch is marked first, and from then on nobody finds it: a retry comes before that or not
at all, and whoever follows its results is told so instead of missing some. Then go its rows,
some at a time. Of an uploaded file that no batch names, first the row goes out of sight,
then the parts go.

No id ever comes twice, though SQLite counts on from the largest that is there: a worker that
was frozen since its job ended must not meet another one under its id. Hence the newest batch
and the newest job leave bare rows behind, which the next prune takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.domain.batch import BatchState
from db.queries.uploaded_files import COMPLETE, DOOMED, INCOMPLETE
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
_TEXTS = (r, q, c, d)  # what hangs on a question
_ORDERED = sa.exists().where(o.c.file_id == f.c.id)


@dataclass(frozen=True, slots=True)
class PrunableAmount:
    """How much there is to prune."""

    batches: int
    questions: int
    files: int


@dataclass(frozen=True, slots=True)
class PrunableBatch:
    """A batch to be pruned, and how many questions it had."""

    id: int
    questions: int


def amount(conn: sa.Connection, before: datetime, uploaded: datetime) -> PrunableAmount:
    """Count what is to be pruned, what an earlier prune has begun included.

    Args:
        conn: the transaction.
        before: when batches have finished, and files were stored, that are to go.
        uploaded: when uploads have begun that are taken for dead.
    """
    begun = sa.and_(_MARKED, b.c.question_count > 0)
    questions = sa.func.coalesce(sa.func.sum(b.c.question_count), 0)
    query = sa.select(sa.func.count(), questions).where(sa.or_(begun, _old(before)))
    count, total = conn.execute(query).one()
    old = sa.select(sa.func.count()).select_from(f).where(_unreferenced(before, uploaded))
    return PrunableAmount(count, int(total), int(conn.scalar(old) or 0))


def _old(before: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(b.c.finished_at < before, b.c.state != BatchState.PRUNED)


def begun(conn: sa.Connection) -> list[PrunableBatch]:
    """Return the batches that an earlier prune has marked and not deleted to the end."""
    query = sa.select(b.c.id, b.c.question_count).where(_MARKED).order_by(b.c.id)
    return [PrunableBatch(*row) for row in conn.execute(query)]


def finished(
    conn: sa.Connection, before: datetime, *, after: int, limit: int
) -> list[PrunableBatch]:
    """Return the next batches behind an id that finished before a time."""
    query = (
        sa.select(b.c.id, b.c.question_count)
        .where(b.c.id > after, _old(before))
        .order_by(b.c.id)
        .limit(limit)
    )
    return [PrunableBatch(*row) for row in conn.execute(query)]


def mark(conn: sa.Connection, ids: Sequence[int], before: datetime) -> list[int]:
    """Put those of the batches out of everybody's sight that are still finished.

    Their names are free from then on, and what they were made of is forgotten.
    """
    held = sa.select(b.c.id, b.c.name).where(b.c.id.in_(ids), _old(before))
    found = conn.execute(held.order_by(b.c.id).with_for_update()).all()
    if not found:
        return []
    conn.execute(o.delete().where(o.c.name.in_([row.name for row in found])))
    marked = [row.id for row in found]
    # A name that nobody can give, as it can't be printed.
    name = sa.literal("\t") + sa.cast(b.c.id, sa.Text)
    told = {"state": BatchState.PRUNED, "name": name, "source": "", "idempotency_key": ""}
    told |= {"webhook": None}
    conn.execute(b.update().where(b.c.id.in_(marked)).values(told))
    conn.execute(d.delete().where(d.c.batch_id.in_(marked)))
    return marked


def first_position(conn: sa.Connection, batch_id: int) -> int | None:
    """Return the position of a batch's first question that is there; None: none is."""
    found: int | None = conn.scalar(
        sa.select(q.c.position).where(q.c.batch_id == batch_id).order_by(q.c.position).limit(1)
    )
    return found


def delete_range(conn: sa.Connection, batch_id: int, first: int, last: int) -> bool:
    """Delete a marked batch's questions in a range, and what hangs on them.

    Returns:
        Whether the batch is still there to be gone on with.
    """
    # Held, so that two prunes of one batch take turns.
    held = sa.select(b.c.id).where(b.c.id == batch_id, _MARKED).with_for_update()
    if conn.execute(held).first() is None:
        return False
    for table in _TEXTS:
        within = table.c.position.between(first, last)
        conn.execute(table.delete().where(table.c.batch_id == batch_id, within))
    _delete_jobs(conn, j.c.batch_id == batch_id, j.c.first_position.between(first, last))
    return True


def delete(conn: sa.Connection, ids: Sequence[int]) -> None:
    """Delete all that is left of marked batches."""
    for table in (*_TEXTS, deliveries):
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
    dead = sa.and_(f.c.bytes == INCOMPLETE, f.c.created_at < uploaded)
    old = sa.and_(COMPLETE, f.c.created_at < before, ~_ORDERED)
    return sa.or_(f.c.bytes == DOOMED, dead, old)


def unreferenced_files(conn: sa.Connection, before: datetime, uploaded: datetime) -> list[str]:
    """Return old files that no batch names, and what dead uploads left."""
    return list(conn.scalars(sa.select(f.c.id).where(_unreferenced(before, uploaded))))


def hide_file(conn: sa.Connection, file_id: str, before: datetime, uploaded: datetime) -> bool:
    """Put a file out of everybody's sight for good, if it is still of no use."""
    useless = _unreferenced(before, uploaded)
    doomed = f.update().where(f.c.id == file_id, useless).values(bytes=DOOMED)
    return conn.execute(doomed).rowcount == 1


def delete_parts(conn: sa.Connection, file_id: str, limit: int) -> bool:
    """Delete some parts of a doomed file, and with the last one the file; tell if that was it."""
    ours = p.c.file_id == file_id
    query = sa.select(p.c.number).where(ours).order_by(p.c.number).limit(limit)
    found = list(conn.scalars(query))
    conn.execute(p.delete().where(ours, p.c.number.in_(found)))
    if len(found) == limit:
        return False
    conn.execute(f.delete().where(f.c.id == file_id, f.c.bytes == DOOMED))
    return True
