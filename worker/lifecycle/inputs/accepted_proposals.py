"""Accepted proposals of the hand-off desk, merged into a knowledge base.

If the agent picked an entry, the question becomes a phrasing of it. If the agent wrote an
answer, it becomes a new entry, or the question becomes a phrasing of the entry with the same
answer. Merging the same proposals again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from core.domain.handoff import Proposal
from db.queries import handoffs
from db.session import reading
from worker.model.bundle.bundle import Entry
from worker.text.normalization import normalize_for_match

MAX_PROPOSALS = 100_000  # per build


@dataclass(frozen=True)
class AcceptedProposals:
    """A knowledge base with the merged proposals, and their counts."""

    entries: list[Entry]
    phrasings: int  # added to entries
    added: int  # new entries
    known: int  # proposals that the knowledge base had already
    skipped: int  # proposals whose entry is missing, or whose question has no words

    def __str__(self) -> str:
        """Return the counts as one line."""
        return (
            f"learned from the hand-off desk: phrasings {self.phrasings:,},"
            f" entries {self.added:,}; known already {self.known:,}, skipped {self.skipped:,}"
        )


def with_accepted(engine: sa.Engine, name: str, entries: Sequence[Entry]) -> AcceptedProposals:
    """Merge the accepted proposals of a model, and those of unknown models."""
    with reading(engine) as conn:
        rows = handoffs.proposals(conn, Proposal.ACCEPTED, limit=MAX_PROPOSALS, model=name)
    return add_accepted(entries, rows)


def add_accepted(entries: Sequence[Entry], accepted: Iterable[Any]) -> AcceptedProposals:
    """Merge accepted proposals.

    Args:
        entries: the knowledge base.
        accepted: rows with `question`, `answer`, `entry_id`, `batch_id` and `position`.
    """
    by_id = {entry.id: entry for entry in entries}
    by_answer = {entry.answer: entry.id for entry in entries}
    phrasings = added = known = skipped = 0
    for proposal in accepted:
        text, answer = proposal.question.strip(), proposal.answer.strip()
        own_id = by_answer.get(answer, f"desk-{proposal.batch_id}-{proposal.position}")
        entry = by_id.get(proposal.entry_id or own_id)
        if not normalize_for_match(text) or (entry is None and proposal.entry_id):
            skipped += 1
        elif entry is None:
            by_id[own_id] = Entry(own_id, answer, [text])
            by_answer[answer] = own_id
            added += 1
        elif normalize_for_match(text) in map(normalize_for_match, entry.questions):
            known += 1
        else:
            by_id[entry.id] = replace(entry, questions=[*entry.questions, text])
            phrasings += 1
    return AcceptedProposals(list(by_id.values()), phrasings, added, known, skipped)
