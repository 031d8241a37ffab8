"""The hand-off desk: what waits for people, who holds it, what they answered. None commits.

A result is never changed: what a person answers is a row of its own beside it. A claim is a
courtesy with an end, so that two people don't work on the same question; what counts is
that one answer can be stored, and no second.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.handoff import Proposal
from core.domain.result import Status
from core.errors import HandOffTaken, HandOffUnknown
from db import dialect
from db.tables import desk_answers as d
from db.tables import desk_claims as c
from db.tables import questions as q
from db.tables import result_rows as r

QuestionRef = tuple[int, int]  # a question's batch and position

_TEXT = (
    sa.select(q.c.text)
    .where(q.c.batch_id == r.c.batch_id, q.c.position == r.c.position)
    .scalar_subquery()
)


def waiting(
    conn: sa.Connection,
    *,
    now: datetime,
    after: QuestionRef = (0, 0),
    limit: int,
    batch_id: int | None = None,
) -> list[sa.Row[Any]]:
    """Return the next hand-offs that nobody has answered, the oldest batch first.

    Each is a result with its `question`, and with who holds it (`held_by`), if anybody does.
    """
    query = (
        _hand_offs(now)
        .where(sa.tuple_(r.c.batch_id, r.c.position) > sa.tuple_(*after), ~_answered())
        .order_by(r.c.batch_id, r.c.position)
        .limit(limit)
    )
    if batch_id is not None:
        query = query.where(r.c.batch_id == batch_id)
    return list(conn.execute(query))


def next_free(conn: sa.Connection, *, by: str, now: datetime) -> QuestionRef | None:
    """Return the hand-off that waits longest and that nobody else holds; their own first."""
    held = sa.exists().where(
        c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now
    )
    mine = sa.exists().where(
        c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now, c.c.by == by
    )
    query = (
        sa.select(r.c.batch_id, r.c.position)
        .where(_handed_off(), ~_answered())
        .order_by(r.c.batch_id, r.c.position)
        .limit(1)
    )
    for which in (mine, ~held):
        row = conn.execute(query.where(which)).first()
        if row is not None:
            return row.batch_id, row.position
    return None


def waiting_count(conn: sa.Connection, most: int) -> int:
    """Return how many hand-offs nobody has answered; so many at most are counted."""
    found = sa.select(r.c.position).where(_handed_off(), ~_answered()).limit(most).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(found)) or 0


def hand_off(conn: sa.Connection, place: QuestionRef, now: datetime) -> sa.Row[Any]:
    """Return one hand-off, as `waiting` does, answered or not.

    Raises:
        HandOffUnknown: there is none.
    """
    query = _hand_offs(now).where(r.c.batch_id == place[0], r.c.position == place[1])
    row = conn.execute(query).first()
    if row is None:
        raise HandOffUnknown(*place)
    return row


def claim(
    conn: sa.Connection, place: QuestionRef, *, by: str, until: datetime, now: datetime
) -> None:
    """Hold a hand-off for so long, or for longer if they hold it already.

    Raises:
        HandOffUnknown: there is none.
        HandOffTaken: somebody else holds it, or it is answered.
    """
    found = hand_off(conn, place, now)
    _check_free(conn, place, found.held_by, by)
    free = sa.or_(c.c.by == by, c.c.until <= now)
    values = {"by": by, "until": until}
    if conn.execute(c.update().where(_at(c, place), free).values(values)).rowcount == 1:
        return
    made = dialect.insert_once(conn, c, {"batch_id": place[0], "position": place[1], **values})
    if not made:  # somebody was quicker
        raise HandOffTaken(*place, "is held by somebody else")


def release(conn: sa.Connection, place: QuestionRef, by: str) -> None:
    """Let a hand-off go, if they hold it."""
    conn.execute(c.delete().where(_at(c, place), c.c.by == by))


def answer(
    conn: sa.Connection,
    place: QuestionRef,
    text: str,
    *,
    entry_id: str | None,
    by: str,
    learn: bool,
    now: datetime,
) -> None:
    """Store what a person answered; with `learn`, the pair is proposed to be learned.

    Args:
        conn: a transaction.
        place: of the hand-off.
        text: the answer.
        entry_id: of the entry that it was picked from; None: it was written.
        by: who answered.
        learn: whether the next build may take it in, once it is accepted.
        now: the time.

    Raises:
        HandOffUnknown: there is none.
        HandOffTaken: somebody else holds it, or it is answered.
    """
    found = hand_off(conn, place, now)
    _check_free(conn, place, found.held_by, by)
    values = {
        "batch_id": place[0],
        "position": place[1],
        "answer": text,
        "entry_id": entry_id,
        "model": found.model_version and found.model_version.partition("@")[0],
        "by": by,
        "at": now,
        "proposal": Proposal.PROPOSED if learn else None,
    }
    if not dialect.insert_once(conn, d, values):  # somebody was quicker
        raise HandOffTaken(*place, "is answered already")
    release(conn, place, by)


def answered(conn: sa.Connection, place: QuestionRef) -> sa.Row[Any] | None:
    """Return what a person answered to a question."""
    return conn.execute(sa.select(d).where(_at(d, place))).first()


def proposals(
    conn: sa.Connection, state: Proposal, *, limit: int, model: str | None = None
) -> list[sa.Row[Any]]:
    """Return the answers whose pair is in this state, with the questions; the oldest first.

    With `model`, those that belong to a model of that name, or to none that is known.
    """
    query = (
        sa.select(d, q.c.text.label("question"))
        .join(q, sa.and_(q.c.batch_id == d.c.batch_id, q.c.position == d.c.position))
        .where(d.c.proposal == state)
        .order_by(d.c.at, d.c.batch_id, d.c.position)
        .limit(limit)
    )
    if model is not None:
        query = query.where(sa.or_(d.c.model == model, d.c.model.is_(None)))
    return list(conn.execute(query))


def proposal_counts(conn: sa.Connection) -> dict[Proposal, int]:
    """Return how many proposals are in each state."""
    query = (
        sa.select(d.c.proposal, sa.func.count())
        .where(d.c.proposal.is_not(None))
        .group_by(d.c.proposal)
    )
    found = {Proposal(state): count for state, count in conn.execute(query)}
    return {state: found.get(state, 0) for state in Proposal}


def decide(
    conn: sa.Connection, place: QuestionRef, state: Proposal, *, by: str, now: datetime
) -> None:
    """Accept or reject a proposal, or take that back; a build asks for it when it runs.

    Raises:
        HandOffUnknown: nothing was proposed there.
    """
    made = conn.execute(
        d.update()
        .where(_at(d, place), d.c.proposal.is_not(None))
        .values(proposal=state, decided_by=by, decided_at=now)
    )
    if made.rowcount == 0:
        raise HandOffUnknown(*place)


def _hand_offs(now: datetime) -> sa.Select[Any]:
    held = (
        sa.select(c.c.by)
        .where(c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now)
        .scalar_subquery()
    )
    return sa.select(r, _TEXT.label("question"), held.label("held_by")).where(_handed_off())


def _handed_off() -> sa.ColumnElement[bool]:
    # Literal, or PostgreSQL does not see that the partial index fits.
    return r.c.status == sa.literal_column(f"'{Status.HANDED_OFF}'")


def _answered() -> sa.ColumnElement[bool]:
    return sa.exists().where(d.c.batch_id == r.c.batch_id, d.c.position == r.c.position)


def _at(table: sa.Table, place: QuestionRef) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.batch_id == place[0], table.c.position == place[1])


def _check_free(conn: sa.Connection, place: QuestionRef, held_by: str | None, by: str) -> None:
    if answered(conn, place) is not None:
        raise HandOffTaken(*place, "is answered already")
    if held_by is not None and held_by != by:
        raise HandOffTaken(*place, f"is held by {held_by}")
