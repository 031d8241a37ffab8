"""Queries on the files and batches of the OpenAI-compatible API.

A file's row is inserted first, then its parts, then the file is marked complete. Only complete
files are returned. Uploads that a crash interrupted are deleted by `db.queries.retention`.
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

# Stored instead of a file's size while its parts are being stored or deleted.
INCOMPLETE, BEING_DELETED = -1, -2
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
    """A batch that was created from an uploaded file."""

    name: str  # of the batch
    file_id: str
    endpoint: str  # the OpenAI endpoint whose format requests and responses have
    metadata: dict[str, str] | None
    created_at: datetime


def begin(conn: sa.Connection, file: UploadedFile) -> None:
    """Insert the row of an incomplete file, before its parts."""
    values = {"id": file.id, "name": file.name, "created_at": file.created_at}
    conn.execute(f.insert().values(values | {"bytes": INCOMPLETE}))


def complete(conn: sa.Connection, file: UploadedFile) -> None:
    """Mark a file as complete, after its parts are stored.

    Raises:
        FileUnknown: the file was pruned before that.
    """
    incomplete = f.c.id == file.id, f.c.bytes == INCOMPLETE
    if conn.execute(f.update().where(*incomplete).values(bytes=file.bytes)).rowcount == 0:
        raise FileUnknown(file.id)


def add_part(conn: sa.Connection, file_id: str, number: int, content: bytes) -> None:
    """Store a part of a file, where the first part has the number 0."""
    conn.execute(p.insert().values(file_id=file_id, number=number, content=content))


def part(conn: sa.Connection, file_id: str, number: int) -> bytes | None:
    """Return a part, or None after the last one."""
    query = sa.select(p.c.content).where(p.c.file_id == file_id, p.c.number == number)
    content: bytes | None = conn.scalar(query)
    return content


def find(conn: sa.Connection, file_id: str) -> UploadedFile:
    """Return the complete file of an id.

    Raises:
        FileUnknown: no complete file has this id.
    """
    row = _row(conn, f, f.c.id, file_id)
    if row is None or row.bytes < 0:
        raise FileUnknown(file_id)
    return UploadedFile(**row._mapping)  # noqa: SLF001 - Row's public mapping


def newest(conn: sa.Connection, limit: int, after: str | None = None) -> list[UploadedFile]:
    """Return the newest files, newest first.

    With `after`, return the newest of those older than this file.
    """
    rows = conn.execute(_newest(f, f.c.id, limit, after).where(COMPLETE))
    return [UploadedFile(**row._mapping) for row in rows]  # noqa: SLF001 - Row's public mapping


def delete(conn: sa.Connection, file_id: str) -> None:
    """Delete a file and its parts."""
    conn.execute(f.delete().where(f.c.id == file_id))
    conn.execute(p.delete().where(p.c.file_id == file_id))


def add_openai_batch(conn: sa.Connection, batch: OpenAIBatch) -> None:
    """Store from which file a batch is created."""
    conn.execute(
        o.insert().values(
            name=batch.name,
            file_id=batch.file_id,
            endpoint=batch.endpoint,
            metadata=batch.metadata,
            created_at=batch.created_at,
        )
    )


def remove_openai_batch(conn: sa.Connection, name: str) -> None:
    """Delete the row of an OpenAI batch whose questions were not stored."""
    conn.execute(o.delete().where(o.c.name == name))


def find_openai_batch(conn: sa.Connection, name: str) -> OpenAIBatch:
    """Return the OpenAI batch of a name.

    Raises:
        FileUnknown: no batch of this name was created from a file.
    """
    row = _row(conn, o, o.c.name, name)
    if row is None:
        raise FileUnknown(name)
    return OpenAIBatch(**row._mapping)  # noqa: SLF001 - Row's public mapping


def newest_openai_batches(
    conn: sa.Connection, limit: int, after: str | None = None
) -> list[OpenAIBatch]:
    """Return the newest OpenAI batches, newest first.

    With `after`, return the newest of those older than this batch.
    """
    rows = conn.execute(_newest(o, o.c.name, limit, after))
    return [OpenAIBatch(**row._mapping) for row in rows]  # noqa: SLF001 - Row's public mapping


def _row(
    conn: sa.Connection, table: sa.Table, key: sa.Column[Any], value: str
) -> sa.Row[Any] | None:
    # Every id is printable, and PostgreSQL rejects a NUL.
    query = sa.select(table).where(key == value)
    return conn.execute(query).first() if value.isprintable() else None


def _newest(
    table: sa.Table, key: sa.Column[Any], limit: int, after: str | None
) -> sa.Select[tuple[Any, ...]]:
    query = sa.select(table).order_by(table.c.created_at.desc(), key.desc()).limit(limit)
    if after is None:
        return query
    if not after.isprintable():
        return query.where(sa.false())
    created_at = sa.select(table.c.created_at).where(key == after).scalar_subquery()
    same_time = sa.and_(table.c.created_at == created_at, key < after)
    return query.where(sa.or_(table.c.created_at < created_at, same_time))
