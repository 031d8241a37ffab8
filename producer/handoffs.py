"""Use case: agents answer hand-offs.

The next model version may learn an answer. An agent holds a hand-off for a limited time while
writing the answer. The result itself does not change.
"""

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
SEARCH_LIMIT = 20  # entries of one search
_FIELDS = (
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
    """A hand-off, as the agent who answers it sees it."""

    hand_off: sa.Row[Any]
    answer: sa.Row[Any] | None  # an agent's answer, if there is one
    nearest: list[KnownEntry]  # the entries with the highest scores of the model
    matches: list[KnownEntry]  # the entries that the agent's search returned


def document(row: sa.Row[Any]) -> dict[str, Any]:
    """Return a hand-off as the HTTP API shows it."""
    values = {"batch": row.batch_id, **{name: getattr(row, name) for name in _FIELDS}}
    return {**values, "handed_off_at": row.answered_at.isoformat()}


def waiting(
    engine: sa.Engine, clock: DatabaseClock, *, after: QuestionRef, limit: int, batch_id: int | None
) -> list[sa.Row[Any]]:
    """Return the next hand-offs without an agent's answer."""
    now = clock()
    with reading(engine) as conn:
        return handoffs.waiting(conn, now=now, after=after, limit=limit, batch_id=batch_id)


def claim(
    engine: sa.Engine, clock: DatabaseClock, settings: Settings, ref: QuestionRef, by: str
) -> sa.Row[Any]:
    """Hold a hand-off for an agent for ANSWERMILL_DESK_SECONDS, and return it.

    Raises:
        HandOffUnknown: the question was not handed off.
        HandOffTaken: another agent holds the hand-off, or it has an answer.
    """
    now = clock()
    until = now + timedelta(seconds=settings.desk_seconds)
    with transaction(engine) as conn:
        handoffs.claim(conn, ref, by=by, until=until, now=now)
        return handoffs.hand_off(conn, ref, now)


def claim_next(
    engine: sa.Engine, clock: DatabaseClock, settings: Settings, by: str
) -> QuestionRef | None:
    """Hold the oldest free hand-off for an agent, or return None."""
    now = clock()
    until = now + timedelta(seconds=settings.desk_seconds)
    with transaction(engine) as conn:
        ref = handoffs.next_free(conn, by=by, now=now)
        if ref is not None:
            handoffs.claim(conn, ref, by=by, until=until, now=now)
        return ref


def detail(engine: sa.Engine, clock: DatabaseClock, ref: QuestionRef, search: str) -> HandOffDetail:
    """Return a hand-off with the entries that may answer it.

    Raises:
        HandOffUnknown: the question was not handed off.
    """
    now = clock()
    with reading(engine) as conn:
        row = handoffs.hand_off(conn, ref, now)
        model = _model(row)
        entry_ids = [row.entry_id, *(runner_up["entry_id"] for runner_up in row.runners_up or [])]
        nearest = knowledge_entries.among(conn, list(filter(None, entry_ids)), model=model)
        matches = []
        if search.strip():
            matches = knowledge_entries.search(conn, search, model=model, limit=SEARCH_LIMIT)
        return HandOffDetail(row, handoffs.answered(conn, ref), nearest, matches)


def answer(
    engine: sa.Engine,
    clock: DatabaseClock,
    ref: QuestionRef,
    text: str,
    *,
    entry_id: str | None,
    by: str,
    learn: bool,
) -> sa.Row[Any]:
    """Store the answer of an agent, and return it.

    Args:
        engine: the database.
        clock: the database's clock.
        ref: the question that was handed off.
        text: the answer; blank: the answer of the chosen entry.
        entry_id: the entry that the agent chose.
        by: the agent.
        learn: whether to propose the question and its answer for learning, as a phrasing of the
            chosen entry, or as a new entry if none was chosen.

    Raises:
        HandOffUnknown: the question was not handed off.
        HandOffTaken: another agent holds the hand-off, or it has an answer.
        EntryUnknown: the knowledge base has no entry with this id.
        SourceInvalid: text and entry are both missing, or the text cannot be stored.
    """
    now, text = clock(), text.strip()
    if problem := _fault(text, entry_id):
        raise SourceInvalid("the answer", problem)
    with transaction(engine) as conn:
        if entry_id:
            model = _model(handoffs.hand_off(conn, ref, now))
            text = text or knowledge_entries.find(conn, entry_id, model=model).answer
        handoffs.answer(conn, ref, text, entry_id=entry_id or None, by=by, learn=learn, now=now)
        stored = handoffs.answered(conn, ref)
        assert stored is not None  # noqa: S101 - stored in this transaction
        return stored


def _fault(text: str, entry_id: str | None) -> str | None:
    if not text and not entry_id:
        return "the text is blank; write an answer or choose an entry"
    if len(text) > LONGEST_ANSWER:
        return f"the text has {len(text):,} characters, more than {LONGEST_ANSWER:,}"
    return storage_fault(text) or storage_fault(entry_id or "")


def _model(row: sa.Row[Any]) -> str | None:
    return row.model_version and str(row.model_version).partition("@")[0]
