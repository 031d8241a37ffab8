"""Confidence: the probability that the best entry is the right one.

It is the probability that the knowledge base has an entry for the question (in scope), times
the probability that the best entry is then the right one. Both are logistic regressions on a
`worker.model.retrieval.index.RetrievalResult`. Not covered: their fitting at build time
(`worker.lifecycle.build.calibrate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from worker.model.retrieval.index import RetrievalResult

FEATURES = 5
DECIMALS = 4  # of a confidence; hides rounding noise of the arithmetic

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticCurve:
    """A logistic regression on the features of a retrieval result."""

    bias: float
    weights: list[float]

    def chances(self, features: Doubles) -> Doubles:
        """Return (questions,) of probabilities."""
        # Not by BLAS, which sums in another order for another number of questions.
        log_odds = (features * np.asarray(self.weights)).sum(axis=1) + self.bias
        probabilities: Doubles = expit(log_odds)
        return probabilities


@dataclass(frozen=True)
class Confidence:
    """The two factors of confidence, whose names are keys of the manifest."""

    scope: LogisticCurve
    right: LogisticCurve

    def estimate(self, result: RetrievalResult) -> tuple[Doubles, Doubles]:
        """Return confidence and in-scope probability of each question, rounded."""
        return self.chances(features(result))

    def chances(self, features: Doubles) -> tuple[Doubles, Doubles]:
        """Return confidence and in-scope probability for given features, rounded."""
        in_scope = self.scope.chances(features)
        confidence = in_scope * self.right.chances(features)
        return confidence.round(DECIMALS), in_scope.round(DECIMALS)


# For a knowledge base too small to calibrate on: an estimate from others (docs/log.md).
UNCALIBRATED = Confidence(
    scope=LogisticCurve(-4.0, [1.0, 0.5, 4.0, 0.0, 4.0]),
    right=LogisticCurve(-1.0, [0.5, 1.5, 0.0, 0.0, 4.0]),
)


def features(result: RetrievalResult) -> Doubles:
    """Return (questions, FEATURES): the inputs of the curves."""
    score = result.scores[:, 0]
    runner_up = result.scores[:, min(1, result.scores.shape[1] - 1)]
    # If the second entry was left out, there is no runner-up, as with a single entry.
    runner_up = np.where(np.isfinite(runner_up), runner_up, score)
    columns = [
        score,
        score - runner_up,
        result.nearest,
        result.mean_nearest,
        result.best_entry,
    ]
    return np.stack(columns, axis=1).astype(np.float64)
