"""What is said of a text before it is decided: the entries that fit best, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Ranking(Protocol):
    """Entries ranked for some texts, by the index or by the cascade; a row for each text."""

    @property
    def entries(self) -> NDArray[np.int64]:
        """Return the entries, the best first: (texts, ranks)."""

    @property
    def phrasings(self) -> NDArray[np.int64]:
        """Return the nearest phrasing of each: (texts, ranks)."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Return the score of each: (texts, ranks)."""


_SCORE_DECIMALS = 4  # so that the noise of the arithmetic cannot show


@dataclass(frozen=True)
class Prediction:
    """What the index, or the cascade, says of one text."""

    ranked: list[tuple[int, int, float]]  # entry, its nearest phrasing, score; the best first
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
    chances = zip(ranked, confidence.tolist(), in_scope_probability.tolist(), strict=True)
    return [Prediction(*row) for row in chances]
