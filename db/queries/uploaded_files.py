"""Uploaded files and the batches made of them, for the OpenAI-compatible API. None commits.

A file is begun, then come its parts, then it is complete: whoever finds it finds all of it. What
a crash left begun is pruned (`db.queries.retention`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.errors import FileUnknown
from db.tables import file_parts as p
from db.tables import files as f
from db.tables import openai_batches as o

# Instead of a file's bytes: its parts are still being stored; it is being deleted.
INCOMPLETE, DOOMED = -1, -2
COMPLETE = f.c.bytes >= 0


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """An uploaded file, without its contents."""

    id: str
    name: str
    bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OpenAIBatch:
    """A batch that was asked for by naming a file."""

    name: str  # the batch's
    file_id: str
    endpoint: str  # whose form its requests and responses have
    metadata: dict[str, str] | None
    created_at: datetime


def begin(conn: sa.Connection, file: UploadedFile) -> None:
    """Note that the parts of a file will come; until it is complete nobody finds it."""
    known = {"id": file.id, "name": file.name, "created_at": file.created_at}
    conn.execute(f.insert().values(known | {"bytes": INCOMPLETE}))


def complete(conn: sa.Connection, file: UploadedFile) -> None:
    """Make a file known whose parts are stored.

    Raises:
        FileUnknown: it was pruned meanwhile.
    """
    begun = f.c.id == file.id, f.c.bytes == INCOMPLETE
    if conn.execute(f.update().where(*begun).values(bytes=file.bytes)).rowcount == 0:
        raise FileUnknown(file.id)


def add_part(conn: sa.Connection, file_id: str, number: int, content: bytes) -> None:
    """Store the part of this number; the first one is 0."""
    conn.execute(p.insert().values(file_id=file_id, number=number, content=content))


def part(conn: sa.Connection, file_id: str, number: int) -> bytes | None:
    """Return a part; None behind the last one."""
    query = sa.select(p.c.content).where(p.c.file_id == file_id, p.c.number == number)
    found: bytes | None = conn.scalar(query)
    return found


def find(conn: sa.Connection, file_id: str) -> UploadedFile:
    """Return a file.

    Raises:
        FileUnknown: there is none of this id.
    """
    row = _one(conn, f, f.c.id, file_id)
    if row is None or row.bytes < 0:
        raise FileUnknown(file_id)
    return UploadedFile(**row._mapping)  # noqa: SLF001 - Row's public mapping


def newest(conn: sa.Connection, limit: int, after: str | None = None) -> list[UploadedFile]:
    """Return the files that were stored last, newest first; those behind a file, if given."""
    found = conn.execute(_newest(f, f.c.id, limit, after).where(COMPLETE))
    return [UploadedFile(**row._mapping) for row in found]  # noqa: SLF001 - Row's public mapping


def delete(conn: sa.Connection, file_id: str) -> None:
    """Forget a file and its parts."""
    conn.execute(f.delete().where(f.c.id == file_id))
    conn.execute(p.delete().where(p.c.file_id == file_id))


def add_openai_batch(conn: sa.Connection, ordered: OpenAIBatch) -> None:
    """Note which file a batch is made of."""
    conn.execute(
        o.insert().values(
            name=ordered.name,
            file_id=ordered.file_id,
            endpoint=ordered.endpoint,
            metadata=ordered.metadata,
            created_at=ordered.created_at,
        )
    )


def remove_openai_batch(conn: sa.Connection, name: str) -> None:
    """Forget an order whose batch did not come about."""
    conn.execute(o.delete().where(o.c.name == name))


def find_openai_batch(conn: sa.Connection, name: str) -> OpenAIBatch:
    """Return what a batch was made of.

    Raises:
        FileUnknown: no batch of this name was made of a file here.
    """
    row = _one(conn, o, o.c.name, name)
    if row is None:
        raise FileUnknown(name)
    return OpenAIBatch(**row._mapping)  # noqa: SLF001 - Row's public mapping


def newest_openai_batches(
    conn: sa.Connection, limit: int, after: str | None = None
) -> list[OpenAIBatch]:
    """Return the orders that came last, newest first; those behind an order, if given."""
    found = conn.execute(_newest(o, o.c.name, limit, after))
    return [OpenAIBatch(**row._mapping) for row in found]  # noqa: SLF001 - Row's public mapping


def _one(
    conn: sa.Connection, table: sa.Table, key: sa.Column[Any], wanted: str
) -> sa.Row[Any] | None:
    # No id has what can't be shown, and a database may not take it.
    query = sa.select(table).where(key == wanted)
    return conn.execute(query).first() if wanted.isprintable() else None


def _newest(
    table: sa.Table, key: sa.Column[Any], limit: int, after: str | None
) -> sa.Select[tuple[Any, ...]]:
    query = sa.select(table).order_by(table.c.created_at.desc(), key.desc()).limit(limit)
    if after is None:
        return query
    if not after.isprintable():
        return query.where(sa.false())
    mark = sa.select(table.c.created_at).where(key == after).scalar_subquery()
    same = sa.and_(table.c.created_at == mark, key < after)
    return query.where(sa.or_(table.c.created_at < mark, same))
