"""Predictions: ranked entries, confidence and in-scope probability.

The index and the cascade both rank entries. This module turns either ranking into predictions.
Not covered: the decision to answer or to hand off (`worker.model.loaded_model`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
RankedEntry = tuple[int, int, float]  # entry, its nearest phrasing, score

_SCORE_DECIMALS = 4  # hides rounding noise of the arithmetic


class Ranking(Protocol):
    """Entries ranked by the index or the cascade, a row for each text."""

    @property
    def entries(self) -> NDArray[np.int64]:
        """Return the entries, best first: (texts, ranks)."""

    @property
    def phrasings(self) -> NDArray[np.int64]:
        """Return the nearest phrasing of each entry: (texts, ranks)."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Return the score of each entry: (texts, ranks)."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of the index or the cascade for one text."""

    ranked: list[RankedEntry]  # best first
    confidence: float
    in_scope_probability: float


def predictions(
    ranking: Ranking, confidence: Doubles, in_scope_probability: Doubles
) -> list[Prediction]:
    """Return the prediction for each text."""
    scores = ranking.scores.astype(np.float64)  # float32 cannot be rounded to so few decimals
    columns = ranking.entries, ranking.phrasings, scores.round(_SCORE_DECIMALS)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    ranked = [list(zip(*row, strict=True)) for row in rows]
    fields = zip(ranked, confidence.tolist(), in_scope_probability.tolist(), strict=True)
    return [Prediction(*row) for row in fields]
