"""Fit of an index, and its predictions for left-out phrasings.

The head (`worker.lifecycle.build.kernel_ridge`) is fitted once. That fit also gives the scores
for a row that is not known, and for one whose whole entry is not known, so every phrasing is
predicted as if it were new. With more than `MAX_ROWS` rows, or too many weights, there is no
head: the nearest rows vote, and a sample of the phrasings is predicted.

Not covered: calibration and the threshold (`worker.lifecycle.build.calibrate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from worker.lifecycle.build.kernel_ridge import KernelRidgeFit, blocks
from worker.model.retrieval.confidence import FEATURES, Doubles, features
from worker.model.retrieval.index import NOT_A_ROW, Floats, Index, Ints, RetrievalParameters
from worker.model.retrieval.lexicon import Lexicon
from worker.text.normalization import Script, script

Flags = NDArray[np.bool_]

MAX_ROWS = 16_000  # of a head: at most a minute and 4 GB on two cores
_MAX_WEIGHTS = 20_000_000  # of a head: 80 MB
_SAMPLE = 1_500  # phrasings that parameters are chosen on; higher: steadier, a longer build
_MIN_SAMPLE = 20  # phrasings; with fewer the default parameters stay
_MAX_VOTES = 4_000  # phrasings predicted by vote; higher: slower, about the same metrics

# The grid of the parameter search.
_SHARPNESS = (1.0, 2.0, 3.0)
_LEXICAL = (0.1, 0.2, 0.3, 0.5, 0.75, 0.9)
_STEEPNESS = (4.0, 8.0, 16.0)  # from a score to a chance, during the search only


@dataclass(frozen=True)
class Rows:
    """The rows of an index, before its parameters are chosen."""

    entry_of: Ints  # (rows,)
    texts: list[str]  # normalized; phrasings first, then answer texts
    phrasings: int
    embeddings: Floats  # (rows, dimensions), rows of length 1

    def subset(self, chosen: Ints) -> Rows:
        """Return the rows of `chosen`, which is in ascending order."""
        texts = [self.texts[row] for row in chosen]
        phrasings = int((chosen < self.phrasings).sum())
        return Rows(self.entry_of[chosen], texts, phrasings, self.embeddings[chosen])

    def unique_phrasings(self) -> Ints:
        """Return the phrasings that no other row of their entry equals."""
        counts = Counter(zip(self.entry_of.tolist(), self.texts, strict=True))
        phrasings = zip(self.entry_of[: self.phrasings].tolist(), self.texts, strict=False)
        return np.flatnonzero([counts[row] == 1 for row in phrasings])


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions for questions whose right entry is known."""

    features: Doubles  # (questions, features) of `worker.model.retrieval.confidence`
    right: Flags  # (questions,): the best entry is the right one

    @classmethod
    def join(cls, parts: Sequence[LabelledPredictions]) -> LabelledPredictions:
        """Concatenate several."""
        if not parts:
            return cls(np.zeros((0, FEATURES)), np.zeros(0, bool))
        joined = [part.features for part in parts], [part.right for part in parts]
        return cls(np.concatenate(joined[0]), np.concatenate(joined[1]))


@dataclass(frozen=True)
class FittedIndex:
    """An index, and its predictions for phrasings that were left out of it."""

    index: Index
    known: LabelledPredictions  # without the phrasing
    near: LabelledPredictions  # without its whole entry: a hand-off is right
    known_rows: Ints  # the phrasings of `known`
    near_rows: Ints


def fit(rows: Rows, lexicon: Lexicon) -> FittedIndex:
    """Choose parameters, fit a head if possible, and predict every phrasing."""
    with _one_thread():
        index = _index(rows, lexicon, choose_parameters(rows, lexicon))
        return _with_head(index, rows) if _can_have_head(index) else _with_vote(index, rows)


def fit_index(rows: Rows, lexicon: Lexicon, parameters: RetrievalParameters | None = None) -> Index:
    """Fit an index only. Without `parameters`, choose them."""
    with _one_thread():
        index = _index(rows, lexicon, parameters or choose_parameters(rows, lexicon))
        if not _can_have_head(index):
            return index
        return replace(index, head=KernelRidgeFit.of(index).head)


def _one_thread() -> AbstractContextManager[object]:
    # Two threads of OpenBLAS that spin for each other are ten times slower as soon as another
    # process wants the cores (docs/log.md).
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def _can_have_head(index: Index) -> bool:
    count = len(index.entry_of)
    return count <= MAX_ROWS and count * index.entries <= _MAX_WEIGHTS


def fit_trial(rows: Rows, lexicon: Lexicon, held_out: Flags) -> FittedIndex:
    """Fit on the rows that are not held out, and predict the others.

    The near predictions leave a phrasing's entry out of the ranking, not out of the fit, so
    they look a little easier to separate than they are.
    """
    chosen = np.flatnonzero(held_out)
    phrasings = rows.subset(chosen)
    answers = np.arange(rows.phrasings, len(rows.texts))
    index = fit_index(rows.subset(np.r_[np.flatnonzero(~held_out), answers]), lexicon)
    expected = [frozenset({int(entry)}) for entry in phrasings.entry_of]
    known = predict_as_new(index, phrasings.texts, phrasings.embeddings, expected)
    return FittedIndex(index, known, _predict_without_entry(index, phrasings), chosen, chosen)


def _predict_without_entry(index: Index, phrasings: Rows) -> LabelledPredictions:
    parts = []
    for block in blocks(np.arange(len(phrasings.texts)), len(index.entry_of)):
        own = phrasings.entry_of[block]
        texts = [phrasings.texts[i] for i in block]
        similarities = index.compare(texts, phrasings.embeddings[block])
        similarities[own[:, None] == index.entry_of] = NOT_A_ROW
        scores = index.scores(similarities)
        scores[np.arange(len(block)), own] = NOT_A_ROW
        result = index.rank(similarities, scores)
        parts.append(LabelledPredictions(features(result), np.zeros(len(block), bool)))
    return LabelledPredictions.join(parts)


def _with_head(index: Index, rows: Rows) -> FittedIndex:
    ridge = KernelRidgeFit.of(index)
    index = replace(index, head=ridge.head)
    phrasings = rows.unique_phrasings()
    not_alone = phrasings[np.bincount(index.entry_of)[index.entry_of[phrasings]] > 1]
    known = _predict_left_out(index, not_alone, ridge.without_row(), without_entry=False)
    if index.entries == 1:
        return FittedIndex(index, known, LabelledPredictions.join([]), not_alone, phrasings[:0])
    near = _predict_left_out(index, phrasings, ridge.without_entry(), without_entry=True)
    return FittedIndex(index, known, near, not_alone, phrasings)


def _with_vote(index: Index, rows: Rows) -> FittedIndex:
    phrasings = rows.unique_phrasings()
    count = min(_MAX_VOTES, len(phrasings))
    phrasings = phrasings[np.linspace(0, len(phrasings) - 1, count).astype(np.int64)]
    known = _predict_left_out(index, phrasings, None, without_entry=False)
    near = _predict_left_out(index, phrasings, None, without_entry=True)
    return FittedIndex(index, known, near, phrasings, phrasings)


def _predict_left_out(
    index: Index, phrasings: Ints, scores: Floats | None, *, without_entry: bool
) -> LabelledPredictions:
    """Predict phrasings, each without itself or without its entry.

    If `scores` is None, the nearest rows vote.
    """
    parts = []
    for block in blocks(phrasings, len(index.entry_of)):
        similarities = index.pairwise_similarities(block)
        own = (
            index.entry_of[block, None] == index.entry_of
            if without_entry
            else block[:, None] == np.arange(len(index.entry_of))
        )
        similarities[own] = NOT_A_ROW
        block_scores = index.scores(similarities) if scores is None else scores[block]
        result = index.rank(similarities, block_scores)
        right = result.entries[:, 0] == index.entry_of[block]
        parts.append(LabelledPredictions(features(result), right))
    return LabelledPredictions.join(parts)


def predict_as_new(
    index: Index, texts: Sequence[str], embeddings: Floats, expected: Sequence[frozenset[int]]
) -> LabelledPredictions:
    """Predict questions that are not phrasings.

    Args:
        index: the fitted index.
        texts: the questions, normalized.
        embeddings: (questions, dimensions), rows of length 1.
        expected: the indexes of each question's right entries.
    """
    parts = []
    for block in blocks(np.arange(len(texts)), len(index.entry_of)):
        result = index.search([texts[i] for i in block], embeddings[block])
        best = result.entries[:, 0].tolist()
        right = [entry in expected[i] for i, entry in zip(block, best, strict=True)]
        parts.append(LabelledPredictions(features(result), np.array(right, bool)))
    return LabelledPredictions.join(parts)


def choose_parameters(rows: Rows, lexicon: Lexicon) -> RetrievalParameters:
    """Return the parameters that best predict left-out phrasings."""
    best = RetrievalParameters()
    chosen = _sample(rows)
    if chosen is None:
        return best
    sample = rows.subset(chosen)
    present = {script(text) for text in sample.texts}
    for kind in [kind for kind in Script if kind in present]:
        candidates = [
            replace(best, sharpness=sharpness, lexical=best.lexical | {kind: lexical})
            for sharpness, lexical in product(_SHARPNESS, _LEXICAL)
        ]
        best = max(candidates, key=partial(_likelihood, sample, lexicon))
    return best


def _sample(rows: Rows) -> Ints | None:
    """Return a sample of the rows, or None if there are too few."""
    if len(rows.unique_phrasings()) < _MIN_SAMPLE or rows.entry_of.max() == 0:
        return None
    spread = np.linspace(0, rows.phrasings - 1, min(_SAMPLE, rows.phrasings)).astype(np.int64)
    entries = np.unique(rows.entry_of[spread])
    answers = np.arange(rows.phrasings, len(rows.texts))
    return np.concatenate([spread, answers[np.isin(rows.entry_of[answers], entries)]])


def _likelihood(rows: Rows, lexicon: Lexicon, parameters: RetrievalParameters) -> float:
    index = _index(rows, lexicon, parameters)
    phrasings = rows.unique_phrasings()
    left_out = KernelRidgeFit.of(index).without_row()[phrasings]
    entry_of = index.entry_of[phrasings]
    return max(_mean_log_chance(left_out * steepness, entry_of) for steepness in _STEEPNESS)


def _mean_log_chance(scores: Floats, entry_of: Ints) -> float:
    top = scores.max(axis=1)
    own = scores[np.arange(len(scores)), entry_of]
    return float((own - top - np.log(np.exp(scores - top[:, None]).sum(axis=1))).mean())


def _index(rows: Rows, lexicon: Lexicon, parameters: RetrievalParameters) -> Index:
    return Index.of(
        parameters=parameters,
        entry_of=rows.entry_of,
        texts=rows.texts,
        phrasings=rows.phrasings,
        embeddings=rows.embeddings,
        lexicon=lexicon,
    )
