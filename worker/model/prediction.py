"""What is said of a text before it is decided: the entries that fit best, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from worker.model.cascade.classifier import ClassifierOutput
    from worker.model.retrieval.confidence import Doubles
    from worker.model.retrieval.index import RetrievalResult

_SCORE_DECIMALS = 4  # so that the noise of the arithmetic cannot show


@dataclass(frozen=True)
class Prediction:
    """What the index, or the cascade, says of one text."""

    ranked: list[tuple[int, int, float]]  # entry, its nearest phrasing, score; the best first
    confidence: float
    in_scope_probability: float


def predictions(
    found: RetrievalResult | ClassifierOutput, sure: Doubles, scope: Doubles
) -> list[Prediction]:
    """Return a verdict on each text."""
    scores = found.scores.astype(np.float64)  # float32 can't be rounded to so few decimals
    columns = found.entries, found.phrasings, scores.round(_SCORE_DECIMALS)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    ranked = [list(zip(*row, strict=True)) for row in rows]
    return [Prediction(*row) for row in zip(ranked, sure.tolist(), scope.tolist(), strict=True)]
