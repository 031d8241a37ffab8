"""The cascade's classifier: a linear SVM, and its cross-validation.

The SVM is scikit-learn's LinearSVC (LIBLINEAR) on the n-grams of the phrasings. Unlike
the head's, its predictions for left-out phrasings do not follow from one fit. So phrasings
are left out in parts, whole entries are left out in groups, and each part needs a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.svm import LinearSVC

from worker.lifecycle.build.fit import Flags, LabelledPredictions
from worker.model.cascade.classifier import LinearClassifier
from worker.model.cascade.ngrams import NgramVectorizer
from worker.model.retrieval.confidence import FEATURES
from worker.model.retrieval.index import Floats, Ints

_PARTS = 5  # of the phrasings; higher: each fit resembles the whole fit more, slower
_GROUPS = 4  # of the entries; the same
_SEED = 7
_NOT_FITTED = np.float32(-9)  # score of an entry that the fit has no phrasing of


@dataclass(frozen=True)
class CrossValidation:
    """The phrasings, and fits on subsets of them."""

    grams: NgramVectorizer
    texts: list[str]
    entry_of: Ints

    def fit(self, chosen: Flags) -> LinearClassifier:
        """Fit on the chosen phrasings."""
        rows = np.flatnonzero(chosen)
        texts, entry_of = [self.texts[row] for row in rows], self.entry_of[rows]
        weights, bias = self._fit_svm(self.grams.vectors(texts), entry_of)
        return LinearClassifier.of(self.grams, weights, bias, texts, entry_of)

    def predict_left_out(
        self, rows: Ints, parts: Ints, learnable: Flags, *, in_scope: bool
    ) -> LabelledPredictions:
        """Predict phrasings, each with a fit that lacks its part.

        Args:
            rows: the phrasings.
            parts: (phrasings,) the part of each.
            learnable: (phrasings,) those that may be fitted on.
            in_scope: True: a phrasing's own entry is right. False: no entry is right.
        """
        features, right = np.zeros((len(rows), FEATURES)), np.zeros(len(rows), bool)
        for part in np.unique(parts[rows]):
            classifier = self.fit(learnable & (parts != part))
            positions = np.flatnonzero(parts[rows] == part)
            members = rows[positions]
            expected = [frozenset({int(self.entry_of[row])} if in_scope else ()) for row in members]
            predictions = predict(classifier, [self.texts[row] for row in members], expected)
            features[positions], right[positions] = predictions.features, predictions.right
        return LabelledPredictions(features, right)

    def _fit_svm(self, vectors: Any, entry_of: Ints) -> tuple[Floats, Floats]:  # noqa: ANN401 - scipy is untyped
        entries = int(self.entry_of.max()) + 1
        weights = np.zeros((len(self.grams.codes), entries), np.float32)
        bias = np.full(entries, _NOT_FITTED)
        if entry_of.min() == entry_of.max():  # LinearSVC needs two classes
            bias[entry_of[0]] = 0
            return weights, bias
        machine = LinearSVC(C=1.0, tol=1e-2, dual=True, max_iter=2_000, random_state=_SEED)
        machine.fit(vectors, entry_of)
        slopes, shifts = machine.coef_, machine.intercept_
        if len(slopes) == 1:  # with two classes LinearSVC keeps only the second's
            slopes, shifts = np.r_[-slopes, slopes], np.r_[-shifts, shifts]
        weights[:, machine.classes_], bias[machine.classes_] = slopes.T, shifts
        return weights, bias


def parts_of(entry_of: Ints) -> Ints:
    """Return the part of each phrasing, with each entry spread over all."""
    random = np.random.default_rng(_SEED)
    parts = np.empty(len(entry_of), np.int64)
    for entry in np.unique(entry_of):
        own = random.permutation(np.flatnonzero(entry_of == entry))
        parts[own] = (np.arange(len(own)) + random.integers(_PARTS)) % _PARTS
    return parts


def groups_of(entry_of: Ints) -> Ints:
    """Return the group that each phrasing's entry is left out with."""
    entries = int(entry_of.max()) + 1
    groups = np.random.default_rng(_SEED).permutation(np.arange(entries) % min(_GROUPS, entries))
    return groups[entry_of].astype(np.int64)


def predict(
    classifier: LinearClassifier, texts: Sequence[str], expected: Sequence[frozenset[int]]
) -> LabelledPredictions:
    """Predict questions.

    Args:
        classifier: the fitted classifier.
        texts: the questions, normalized.
        expected: the indexes of each question's right entries.
    """
    if not texts:
        return LabelledPredictions.join([])
    output = classifier.classify(texts)
    best = output.entries[:, 0].tolist()
    right = [entry in allowed for entry, allowed in zip(best, expected, strict=True)]
    return LabelledPredictions(output.features, np.array(right, bool))
