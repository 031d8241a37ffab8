"""How sure an answer is, and why a question is handed off.

Confidence is the chance that the entry is the right one: a logistic curve over how similar
the winner's nearest phrasing is and which share of the votes the winner has. One curve per
script suits every knowledge base that we measured (docs/log.md); fitting it to each by
leaving phrasings out did worse on small ones, whose phrasings were written to differ.
What is no entry of the knowledge base but close to one is told apart poorly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from worker.model.text import Script

DECIMALS = 4


class Reason(StrEnum):
    """Why a human must take a question."""

    OUT_OF_SCOPE = "out_of_scope"  # it resembles no known phrasing
    AMBIGUOUS = "ambiguous"  # it resembles phrasings of several entries
    TOO_LONG = "too_long"
    EMPTY = "empty"  # nothing readable, only punctuation or emoji


@dataclass(frozen=True)
class _Curve:
    """The confidence of one script."""

    base: float
    similarity: float
    share: float
    familiar: float  # a question less similar than this resembles nothing


_CURVES = {
    Script.SPACED: _Curve(base=-5.8, similarity=7.0, share=5.5, familiar=0.36),
    Script.CJK: _Curve(base=-4.8, similarity=12.0, share=5.5, familiar=0.20),
}


def confidence(script: Script, similarity: float, share: float) -> float:
    """Return the chance that the winner is right, rounded so that noise can't show."""
    curve = _CURVES[script]
    log_odds = curve.base + curve.similarity * similarity + curve.share * share
    return round(1 / (1 + math.exp(-log_odds)), DECIMALS)


def reason(script: Script, similarity: float) -> Reason:
    """Return why a question below the threshold is handed off."""
    familiar = similarity >= _CURVES[script].familiar
    return Reason.AMBIGUOUS if familiar else Reason.OUT_OF_SCOPE
