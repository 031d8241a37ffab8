"""The entries of each model version, for people who look for an answer. None commits.

Workers never read them: a bundle has its own.
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
_MOST_WORDS = 8  # of a search


@dataclass(frozen=True, slots=True)
class KnownEntry:
    """One thing the shop can say."""

    entry_id: str
    answer: str
    phrasing: str  # one way to ask for it
    url: str | None = None


def store(conn: sa.Connection, version: ModelVersion, known: Iterable[KnownEntry]) -> None:
    """Keep a version's entries, unless they are kept already."""
    ours = sa.select(e.c.entry_id).where(e.c.name == version.name, e.c.version == version.version)
    if conn.execute(ours.limit(1)).first() is None:
        rows = [(version.name, version.version, *astuple(entry)) for entry in known]
        dialect.insert_many(conn, e, _COLUMNS, rows)


def search(
    conn: sa.Connection, words: str, *, model: str | None = None, limit: int
) -> list[KnownEntry]:
    """Return entries whose id, answer or phrasing has each of the words, by id.

    They are those of the version in production: of one model, or of all there are.
    """
    query = _in_production(model).order_by(e.c.entry_id).limit(limit)
    for word in words.lower().split()[:_MOST_WORDS]:
        texts = (e.c.entry_id, e.c.answer, e.c.phrasing)
        query = query.where(
            sa.or_(*(sa.func.lower(text).contains(word, autoescape=True) for text in texts))
        )
    return [_entity(row) for row in conn.execute(query)]


def among(conn: sa.Connection, ids: Sequence[str], *, model: str | None = None) -> list[KnownEntry]:
    """Return those entries that there are, in the order of the ids."""
    query = _in_production(model).where(e.c.entry_id.in_(ids))
    found = {row.entry_id: _entity(row) for row in conn.execute(query)}
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def find(conn: sa.Connection, entry_id: str, *, model: str | None = None) -> KnownEntry:
    """Return one entry.

    Raises:
        EntryUnknown: there is none.
    """
    found = among(conn, [entry_id], model=model)
    if not found:
        raise EntryUnknown(entry_id)
    return found[0]


def _in_production(model: str | None) -> sa.Select[Any]:
    is_it = sa.and_(
        v.c.name == e.c.name,
        v.c.version == e.c.version,
        v.c.state == VersionState.PRODUCTION,
    )
    query = sa.select(e.c.entry_id, e.c.answer, e.c.phrasing, e.c.url).join(v, is_it)
    return query if model is None else query.where(e.c.name == model)


def _entity(row: sa.Row[Any]) -> KnownEntry:
    return KnownEntry(row.entry_id, row.answer, row.phrasing, row.url)
