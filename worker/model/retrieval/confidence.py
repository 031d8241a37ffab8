"""How sure an answer is.

Confidence is the chance that the entry is the right one: the chance that the knowledge base
has an entry for the question at all, its scope, times the chance that it is this one if so.
Both are logistic regressions on what the rows say (`worker.model.retrieval.index.RetrievalResult`),
fitted at build time by `worker.lifecycle.build.calibrate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from worker.model.retrieval.index import RetrievalResult

FEATURES = 5
DECIMALS = 4  # of a confidence, so that the noise of the arithmetic can't show

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticCurve:
    """A logistic regression on the features of the evidence."""

    bias: float
    weights: list[float]

    def chances(self, features: Doubles) -> Doubles:
        """Return (questions,) of chances."""
        # No BLAS, which sums up in another order for another number of questions.
        log_odds = (features * np.asarray(self.weights)).sum(axis=1) + self.bias
        chances: Doubles = expit(log_odds)
        return chances


@dataclass(frozen=True)
class Confidence:
    """The two chances that confidence is made of."""

    scope: LogisticCurve
    right: LogisticCurve

    def estimate(self, evidence: RetrievalResult) -> tuple[Doubles, Doubles]:
        """Return the confidence and the scope of each question, rounded."""
        return self.chances(features(evidence))

    def chances(self, features: Doubles) -> tuple[Doubles, Doubles]:
        """Return the same, from the features."""
        scope = self.scope.chances(features)
        sure = scope * self.right.chances(features)
        return sure.round(DECIMALS), scope.round(DECIMALS)


# Where nothing could be fitted: an educated guess from other knowledge bases (docs/log.md).
UNCALIBRATED = Confidence(
    scope=LogisticCurve(-4.0, [1.0, 0.5, 4.0, 0.0, 4.0]),
    right=LogisticCurve(-1.0, [0.5, 1.5, 0.0, 0.0, 4.0]),
)


def features(evidence: RetrievalResult) -> Doubles:
    """Return (questions, FEATURES): what the curves are fitted on."""
    score = evidence.scores[:, 0]
    runner_up = evidence.scores[:, min(1, evidence.scores.shape[1] - 1)]
    # Of two entries one may have been left out: then, as with one, there is no runner-up.
    runner_up = np.where(np.isfinite(runner_up), runner_up, score)
    columns = [score, score - runner_up, evidence.nearest, evidence.near, evidence.own]
    return np.stack(columns, axis=1).astype(np.float64)
