"""Use case: people answer what was handed off, and their answers teach the next model version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from core.errors import SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import handoffs, knowledge_entries
from db.queries.handoffs import QuestionRef
from db.queries.knowledge_entries import KnownEntry
from db.session import reading, transaction
from producer.question_files.validation import storage_fault

LONGEST_ANSWER = 20_000  # characters
FOUND = 20  # entries of one search
_DOCUMENT = (
    "position",
    "key",
    "question",
    "reason",
    "confidence",
    "entry_id",
    "matched",
    "runners_up",
    "model_version",
    "held_by",
)


@dataclass(frozen=True, slots=True)
class HandOffDetail:
    """A hand-off, as whoever answers it sees it."""

    hand_off: sa.Row[Any]
    answer: sa.Row[Any] | None  # somebody's, already
    nearest: list[KnownEntry]  # entries that the model nearly took
    found: list[KnownEntry]  # of a search


def document(row: sa.Row[Any]) -> dict[str, Any]:
    """Return a hand-off as the HTTP API tells it."""
    told = {"batch": row.batch_id, **{name: getattr(row, name) for name in _DOCUMENT}}
    return {**told, "handed_off_at": row.answered_at.isoformat()}


def waiting(
    engine: sa.Engine, clock: DatabaseClock, *, after: QuestionRef, limit: int, batch_id: int | None
) -> list[sa.Row[Any]]:
    """Return the next hand-offs that nobody has answered."""
    now = clock()
    with reading(engine) as conn:
        return handoffs.waiting(conn, now=now, after=after, limit=limit, batch_id=batch_id)


def claim(
    engine: sa.Engine, clock: DatabaseClock, settings: Settings, place: QuestionRef, by: str
) -> sa.Row[Any]:
    """Hold a hand-off, so that nobody else is given it for a while; return it.

    Raises:
        HandOffUnknown: there is none.
        HandOffTaken: somebody else holds it, or it is answered.
    """
    now = clock()
    until = now + timedelta(seconds=settings.desk_seconds)
    with transaction(engine) as conn:
        handoffs.claim(conn, place, by=by, until=until, now=now)
        return handoffs.hand_off(conn, place, now)


def claim_next(
    engine: sa.Engine, clock: DatabaseClock, settings: Settings, by: str
) -> QuestionRef | None:
    """Hold the hand-off that waits longest and that nobody else holds; None: there is none."""
    now = clock()
    until = now + timedelta(seconds=settings.desk_seconds)
    with transaction(engine) as conn:
        place = handoffs.next_free(conn, by=by, now=now)
        if place is not None:
            handoffs.claim(conn, place, by=by, until=until, now=now)
        return place


def detail(
    engine: sa.Engine, clock: DatabaseClock, place: QuestionRef, words: str
) -> HandOffDetail:
    """Return a hand-off with the entries that may answer it.

    Raises:
        HandOffUnknown: there is none.
    """
    now = clock()
    with reading(engine) as conn:
        row = handoffs.hand_off(conn, place, now)
        near = [row.entry_id, *(one["entry_id"] for one in row.runners_up or [])]
        model = _model(row)
        nearest = knowledge_entries.among(conn, [one for one in near if one], model=model)
        found = (
            knowledge_entries.search(conn, words, model=model, limit=FOUND) if words.strip() else []
        )
        return HandOffDetail(row, handoffs.answered(conn, place), nearest, found)


def answer(
    engine: sa.Engine,
    clock: DatabaseClock,
    place: QuestionRef,
    text: str,
    *,
    entry_id: str | None,
    by: str,
    learn: bool,
) -> sa.Row[Any]:
    """Store a person's answer; return it.

    Args:
        engine: the database.
        clock: its time.
        place: of the hand-off.
        text: what was written; blank: the entry's own answer.
        entry_id: the entry that was picked, if one was.
        by: who answers.
        learn: whether the pair is proposed to be learned: as a phrasing of the entry that
            was picked, as an entry of its own otherwise.

    Raises:
        HandOffUnknown: there is no such hand-off.
        HandOffTaken: somebody else holds it, or it is answered.
        EntryUnknown: there is no such entry.
        SourceInvalid: neither was given, or the text can't be stored.
    """
    now, text = clock(), text.strip()
    if problem := _fault(text, entry_id):
        raise SourceInvalid("the answer", problem)
    with transaction(engine) as conn:
        if entry_id:
            known = knowledge_entries.find(
                conn, entry_id, model=_model(handoffs.hand_off(conn, place, now))
            )
            text = text or known.answer
        handoffs.answer(conn, place, text, entry_id=entry_id or None, by=by, learn=learn, now=now)
        stored = handoffs.answered(conn, place)
        assert stored is not None  # noqa: S101 - it was written a line above
        return stored


def _fault(text: str, entry_id: str | None) -> str | None:
    if not text and not entry_id:
        return "write one, or pick an entry"
    if len(text) > LONGEST_ANSWER:
        return f"it has {len(text):,} characters, more than {LONGEST_ANSWER:,}"
    return storage_fault(text) or storage_fault(entry_id or "")


def _model(row: sa.Row[Any]) -> str | None:
    return row.model_version and str(row.model_version).partition("@")[0]
