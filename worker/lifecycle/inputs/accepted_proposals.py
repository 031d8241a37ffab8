"""What people answered at the hand-off desk, taken into a knowledge base.

An answer that was picked makes its question a phrasing of that entry; one that was written
becomes an entry, or a phrasing of the entry that says the same. Only what was accepted counts.
Doing it twice, or with a knowledge base that has it already, changes nothing.
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

MOST = 100_000  # proposals of one build


@dataclass(frozen=True)
class AcceptedProposals:
    """A knowledge base with what was taken in."""

    entries: list[Entry]
    phrasings: int  # that entries got
    added: int  # entries
    known: int  # pairs that were there already
    passed_over: int  # pairs of entries that are not there, and questions without words

    def __str__(self) -> str:
        """Say how many of each."""
        told = f"phrasings {self.phrasings:,}, entries {self.added:,}"
        rest = f"known already {self.known:,}, passed over {self.passed_over:,}"
        return f"learned at the hand-off desk: {told}; {rest}"


def with_accepted(engine: sa.Engine, name: str, entries: Sequence[Entry]) -> AcceptedProposals:
    """Take in what was accepted of a model's proposals, and of those of no known model."""
    with reading(engine) as conn:
        rows = handoffs.proposals(conn, Proposal.ACCEPTED, limit=MOST, model=name)
    return add_accepted(entries, rows)


def add_accepted(entries: Sequence[Entry], accepted: Iterable[Any]) -> AcceptedProposals:
    """Take in accepted pairs.

    Args:
        entries: the knowledge base.
        accepted: each with `question`, `answer`, `entry_id`, `batch_id` and `position`.
    """
    found = {entry.id: entry for entry in entries}
    by_answer = {entry.answer: entry.id for entry in entries}
    phrasings = added = known = passed_over = 0
    for pair in accepted:
        text, answer = pair.question.strip(), pair.answer.strip()
        own = by_answer.get(answer, f"desk-{pair.batch_id}-{pair.position}")
        entry = found.get(pair.entry_id or own)
        if not normalize_for_match(text) or (entry is None and pair.entry_id):
            passed_over += 1
        elif entry is None:
            found[own] = Entry(own, answer, [text])
            by_answer[answer] = own
            added += 1
        elif normalize_for_match(text) in map(normalize_for_match, entry.questions):
            known += 1
        else:
            found[entry.id] = replace(entry, questions=[*entry.questions, text])
            phrasings += 1
    return AcceptedProposals(list(found.values()), phrasings, added, known, passed_over)
