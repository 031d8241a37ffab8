"""Factories of labelled questions and of what came for them."""

from __future__ import annotations

from core.domain.result import Answer, Status
from worker.lifecycle.inputs.labelled_questions import Labelled, QuestionScope


def expecting(*ids: str, text: str = "question", scope: QuestionScope | None = None) -> Labelled:
    """Return a question that those entries would answer."""
    return Labelled(text, frozenset(ids), scope)


def answered(entry: str, confidence: float = 0.9) -> Answer:
    """Return an answer."""
    return Answer(Status.ANSWERED, "text", entry, "phrasing", confidence)


def handed_off(
    entry: str | None, confidence: float | None = 0.1, reason: str = "out_of_scope"
) -> Answer:
    """Return a hand-off; the entry is what came nearest."""
    return Answer(Status.HANDED_OFF, None, entry, "phrasing", confidence, reason=reason)
