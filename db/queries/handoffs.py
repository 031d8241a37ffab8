"""Queries of the desk: hand-offs, claims, agents' answers, proposals.

A result never changes: an agent's answer is a row of its own. A claim keeps two agents from
working on the same question, and expires. It is advisory: the primary key of the answers
ensures that only one answer is stored.
Not covered: the entries that agents search (`db.queries.knowledge_entries`).
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

QuestionRef = tuple[int, int]  # a question's batch id and position

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
    """Return the next unanswered hand-offs, oldest batch first.

    Each row is a result with the text of its `question`, and with the agent who has claimed it
    (`held_by`), or None.
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
    """Return the oldest unanswered hand-off that the agent can claim.

    One that the agent has claimed already comes first.
    """
    claimed = sa.exists().where(
        c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now
    )
    claimed_by_agent = sa.exists().where(
        c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now, c.c.by == by
    )
    query = (
        sa.select(r.c.batch_id, r.c.position)
        .where(_handed_off(), ~_answered())
        .order_by(r.c.batch_id, r.c.position)
        .limit(1)
    )
    for condition in (claimed_by_agent, ~claimed):
        row = conn.execute(query.where(condition)).first()
        if row is not None:
            return row.batch_id, row.position
    return None


def waiting_count(conn: sa.Connection, limit: int) -> int:
    """Count the unanswered hand-offs, up to a limit."""
    unanswered = sa.select(r.c.position).where(_handed_off(), ~_answered()).limit(limit).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(unanswered)) or 0


def hand_off(conn: sa.Connection, question: QuestionRef, now: datetime) -> sa.Row[Any]:
    """Return one hand-off, answered or not, with the columns of `waiting`.

    Raises:
        HandOffUnknown: this question was not handed off.
    """
    query = _hand_offs(now).where(r.c.batch_id == question[0], r.c.position == question[1])
    row = conn.execute(query).first()
    if row is None:
        raise HandOffUnknown(*question)
    return row


def claim(
    conn: sa.Connection, question: QuestionRef, *, by: str, until: datetime, now: datetime
) -> None:
    """Claim a hand-off for an agent, or extend the agent's claim.

    Raises:
        HandOffUnknown: this question was not handed off.
        HandOffTaken: another agent has claimed it, or it is answered.
    """
    row = hand_off(conn, question, now)
    _check_free(conn, question, row.held_by, by)
    free = sa.or_(c.c.by == by, c.c.until <= now)
    values: dict[str, Any] = {"by": by, "until": until}
    if conn.execute(c.update().where(_at(c, question), free).values(values)).rowcount == 1:
        return
    values |= {"batch_id": question[0], "position": question[1]}
    if not dialect.insert_once(conn, c, values):  # another agent claimed it at the same time
        raise HandOffTaken(*question, "is claimed by another agent")


def release(conn: sa.Connection, question: QuestionRef, by: str) -> None:
    """Release an agent's claim, if there is one."""
    conn.execute(c.delete().where(_at(c, question), c.c.by == by))


def answer(
    conn: sa.Connection,
    question: QuestionRef,
    text: str,
    *,
    entry_id: str | None,
    by: str,
    learn: bool,
    now: datetime,
) -> None:
    """Store an agent's answer to a hand-off, and release its claim.

    Args:
        conn: a transaction.
        question: the question that was handed off.
        text: the answer.
        entry_id: the entry whose answer was chosen; None: the agent wrote the answer.
        by: the agent.
        learn: whether to propose the question and answer for the next model version.
        now: the time.

    Raises:
        HandOffUnknown: this question was not handed off.
        HandOffTaken: another agent has claimed it, or it is answered.
    """
    row = hand_off(conn, question, now)
    _check_free(conn, question, row.held_by, by)
    values = {
        "batch_id": question[0],
        "position": question[1],
        "answer": text,
        "entry_id": entry_id,
        "model": row.model_version and row.model_version.partition("@")[0],
        "by": by,
        "at": now,
        "proposal": Proposal.PROPOSED if learn else None,
    }
    if not dialect.insert_once(conn, d, values):  # another agent answered at the same time
        raise HandOffTaken(*question, "is answered already")
    release(conn, question, by)


def answered(conn: sa.Connection, question: QuestionRef) -> sa.Row[Any] | None:
    """Return an agent's answer to a question, or None."""
    return conn.execute(sa.select(d).where(_at(d, question))).first()


def proposals(
    conn: sa.Connection, state: Proposal, *, limit: int, model: str | None = None
) -> list[sa.Row[Any]]:
    """Return the proposals of a state, with their questions, oldest first.

    With `model`, return the proposals for this model, and those whose model is unknown.
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
    counts = {Proposal(state): count for state, count in conn.execute(query)}
    return {state: counts.get(state, 0) for state in Proposal}


def decide(
    conn: sa.Connection, question: QuestionRef, state: Proposal, *, by: str, now: datetime
) -> None:
    """Accept or reject a proposal, or revoke that decision.

    A build reads the accepted proposals when it starts.

    Raises:
        HandOffUnknown: this question has no proposal.
    """
    updated = conn.execute(
        d.update()
        .where(_at(d, question), d.c.proposal.is_not(None))
        .values(proposal=state, decided_by=by, decided_at=now)
    )
    if updated.rowcount == 0:
        raise HandOffUnknown(*question)


def _hand_offs(now: datetime) -> sa.Select[Any]:
    claimed_by = (
        sa.select(c.c.by)
        .where(c.c.batch_id == r.c.batch_id, c.c.position == r.c.position, c.c.until > now)
        .scalar_subquery()
    )
    return sa.select(r, _TEXT.label("question"), claimed_by.label("held_by")).where(_handed_off())


def _handed_off() -> sa.ColumnElement[bool]:
    # A literal: with a parameter, PostgreSQL's planner would not use the partial index.
    return r.c.status == sa.literal_column(f"'{Status.HANDED_OFF}'")


def _answered() -> sa.ColumnElement[bool]:
    return sa.exists().where(d.c.batch_id == r.c.batch_id, d.c.position == r.c.position)


def _at(table: sa.Table, question: QuestionRef) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.batch_id == question[0], table.c.position == question[1])


def _check_free(conn: sa.Connection, question: QuestionRef, held_by: str | None, by: str) -> None:
    if answered(conn, question) is not None:
        raise HandOffTaken(*question, "is answered already")
    if held_by is not None and held_by != by:
        raise HandOffTaken(*question, f"is claimed by {held_by}")
