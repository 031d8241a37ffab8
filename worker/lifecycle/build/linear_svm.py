"""Fitting the cascade's cheap model, and asking it what it was fitted without.

It is a linear support vector machine on the grams of the phrasings (scikit-learn's, which is
LIBLINEAR). Phrasings are left out in parts, and whole entries in groups: unlike the head's,
its answers for what is left out don't follow from one fit.
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

_PARTS = 5  # that phrasings are left out in; more: each fit is more like the whole, and slower
_GROUPS = 4  # that entries are left out in
_SEED = 7
_NOWHERE = np.float32(-9)  # the score of an entry that a fit has no phrasing of


@dataclass(frozen=True)
class CrossValidation:
    """The phrasings, and fits on some of them."""

    grams: NgramVectorizer
    texts: list[str]
    entry_of: Ints

    def fit(self, chosen: Flags) -> LinearClassifier:
        """Fit on the chosen phrasings."""
        places = np.flatnonzero(chosen)
        texts, entry_of = [self.texts[place] for place in places], self.entry_of[places]
        weights, bias = self._machine(self.grams.vectors(texts), entry_of)
        return LinearClassifier.of(self.grams, weights, bias, texts, entry_of)

    def left_out(
        self, asked: Ints, parts: Ints, learnable: Flags, *, in_scope: bool
    ) -> LabelledPredictions:
        """Ask phrasings, each of a fit without its part.

        Args:
            asked: the phrasings.
            parts: (phrasings,) the part of each.
            learnable: (phrasings,) those that may be fitted on.
            in_scope: whether their own entry is right, or none.
        """
        features, right = np.zeros((len(asked), FEATURES)), np.zeros(len(asked), bool)
        for part in np.unique(parts[asked]):
            fitted = self.fit(learnable & (parts != part))
            places = np.flatnonzero(parts[asked] == part)
            rows = asked[places]
            expected = [frozenset({int(self.entry_of[row])} if in_scope else ()) for row in rows]
            found = ask(fitted, [self.texts[row] for row in rows], expected)
            features[places], right[places] = found.features, found.right
        return LabelledPredictions(features, right)

    def _machine(self, vectors: Any, entry_of: Ints) -> tuple[Floats, Floats]:  # noqa: ANN401 - scipy is untyped
        entries = int(self.entry_of.max()) + 1
        weights = np.zeros((len(self.grams.codes), entries), np.float32)
        bias = np.full(entries, _NOWHERE)
        if entry_of.min() == entry_of.max():  # nothing to tell apart
            bias[entry_of[0]] = 0
            return weights, bias
        machine = LinearSVC(C=1.0, tol=1e-2, dual=True, max_iter=2_000, random_state=_SEED)
        machine.fit(vectors, entry_of)
        slopes, shifts = machine.coef_, machine.intercept_
        if len(slopes) == 1:  # of two classes it keeps the second's
            slopes, shifts = np.r_[-slopes, slopes], np.r_[-shifts, shifts]
        weights[:, machine.classes_], bias[machine.classes_] = slopes.T, shifts
        return weights, bias


def parts_of(entry_of: Ints) -> Ints:
    """Return the part that each phrasing is left out with; every entry is spread over them."""
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


def ask(
    linear: LinearClassifier, texts: Sequence[str], expected: Sequence[frozenset[int]]
) -> LabelledPredictions:
    """Ask normalised questions; expected: the places of right entries."""
    if not texts:
        return LabelledPredictions.join([])
    found = linear.classify(texts)
    best = found.entries[:, 0].tolist()
    right = [entry in allowed for entry, allowed in zip(best, expected, strict=True)]
    return LabelledPredictions(found.features, np.array(right, bool))
