"""Queries on the entries of each model version, which agents search.

Not covered: the entries with which workers answer; those are part of a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import sqlalchemy as sa

from core.domain.model_version import ModelVersion, VersionState
from core.errors import EntryUnknown
from db import dialect
from db.tables import entries as e
from db.tables import model_versions as v

_COLUMNS = ("name", "version", "entry_id", "answer", "phrasing", "url")
_MAX_SEARCH_WORDS = 8  # further words are ignored; higher: slower searches


@dataclass(frozen=True, slots=True)
class KnownEntry:
    """An entry of a knowledge base, with one of its phrasings."""

    entry_id: str
    answer: str
    phrasing: str  # one known way to ask for it
    url: str | None = None


def store(conn: sa.Connection, version: ModelVersion, known: Iterable[KnownEntry]) -> None:
    """Store a version's entries, unless they are stored already."""
    stored = sa.select(e.c.entry_id).where(e.c.name == version.name, e.c.version == version.version)
    if conn.execute(stored.limit(1)).first() is None:
        rows = [(version.name, version.version, *astuple(entry)) for entry in known]
        dialect.insert_many(conn, e, _COLUMNS, rows)


def search(
    conn: sa.Connection, words: str, *, model: str | None = None, limit: int
) -> list[KnownEntry]:
    """Return entries with each of the words in id, answer or phrasing.

    The entries belong to the versions in production: of one model, or of all models. They are
    ordered by id.
    """
    query = _in_production(model).order_by(e.c.entry_id).limit(limit)
    for word in words.lower().split()[:_MAX_SEARCH_WORDS]:
        texts = (e.c.entry_id, e.c.answer, e.c.phrasing)
        query = query.where(
            sa.or_(*(sa.func.lower(text).contains(word, autoescape=True) for text in texts))
        )
    return [_entity(row) for row in conn.execute(query)]


def among(conn: sa.Connection, ids: Sequence[str], *, model: str | None = None) -> list[KnownEntry]:
    """Return the entries of these ids that exist, in the order of the ids."""
    query = _in_production(model).where(e.c.entry_id.in_(ids))
    entries = {row.entry_id: _entity(row) for row in conn.execute(query)}
    return [entries[entry_id] for entry_id in dict.fromkeys(ids) if entry_id in entries]


def find(conn: sa.Connection, entry_id: str, *, model: str | None = None) -> KnownEntry:
    """Return the entry of an id.

    Raises:
        EntryUnknown: no entry in production has this id.
    """
    entries = among(conn, [entry_id], model=model)
    if not entries:
        raise EntryUnknown(entry_id)
    return entries[0]


def _in_production(model: str | None) -> sa.Select[Any]:
    is_in_production = sa.and_(
        v.c.name == e.c.name,
        v.c.version == e.c.version,
        v.c.state == VersionState.PRODUCTION,
    )
    query = sa.select(e.c.entry_id, e.c.answer, e.c.phrasing, e.c.url).join(v, is_in_production)
    return query if model is None else query.where(e.c.name == model)


def _entity(row: sa.Row[Any]) -> KnownEntry:
    return KnownEntry(row.entry_id, row.answer, row.phrasing, row.url)
