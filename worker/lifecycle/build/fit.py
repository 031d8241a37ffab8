"""Fitting an index to a knowledge base, and what leaving rows out shows of it.

The head is `worker.lifecycle.build.kernel_ridge`'s: one fit of it also tells its answers for a row that is
not known, and for one whose whole entry is not known, so every phrasing is asked as if it
were new. Beyond `MOST_ROWS` rows, or where the head would have too many weights, the vote is
left to decide, and a sample of the phrasings is asked.
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

MOST_ROWS = 16_000  # of a head: at most a minute and 4 GB on two cores
_MOST_WEIGHTS = 20_000_000  # of a head: 80 MB
_SAMPLE = 1_500  # phrasings that parameters are chosen on; more: steadier, and a longer build
_FEWEST = 20  # the same, at least
_ASKED = 4_000  # phrasings that a vote is asked; more: the same

# What is tried.
_SHARPNESS = (1.0, 2.0, 3.0)
_LEXICAL = (0.1, 0.2, 0.3, 0.5, 0.75, 0.9)
_STEEPNESS = (4.0, 8.0, 16.0)  # from a score to a chance, while choosing


@dataclass(frozen=True)
class Rows:
    """What an index is made of, before its parameters are chosen."""

    entry_of: Ints  # (rows,)
    texts: list[str]  # normalised; phrasings first, then answer texts
    phrasings: int
    embeddings: Floats  # (rows, dimensions), rows of length 1

    def some(self, chosen: Ints) -> Rows:
        """Return some of the rows, in ascending order."""
        texts = [self.texts[row] for row in chosen]
        phrasings = int((chosen < self.phrasings).sum())
        return Rows(self.entry_of[chosen], texts, phrasings, self.embeddings[chosen])

    def unique(self) -> Ints:
        """Return the phrasings that no other row of their entry equals."""
        seen = Counter(zip(self.entry_of.tolist(), self.texts, strict=True))
        asked = zip(self.entry_of[: self.phrasings].tolist(), self.texts, strict=False)
        return np.flatnonzero([seen[row] == 1 for row in asked])


@dataclass(frozen=True)
class LabelledPredictions:
    """Questions whose entry is known, and what the index says of them."""

    features: Doubles  # (questions, features) of `worker.model.retrieval.confidence`
    right: Flags  # (questions,): the best entry is the right one

    @classmethod
    def join(cls, parts: Sequence[LabelledPredictions]) -> LabelledPredictions:
        """Put several together."""
        if not parts:
            return cls(np.zeros((0, FEATURES)), np.zeros(0, bool))
        whole = [part.features for part in parts], [part.right for part in parts]
        return cls(np.concatenate(whole[0]), np.concatenate(whole[1]))


@dataclass(frozen=True)
class Fitted:
    """An index, and what it says of phrasings that it was made not to know."""

    index: Index
    known: LabelledPredictions  # the phrasing was left out
    missing: LabelledPredictions  # so was the rest of its entry: it must be handed off
    known_rows: Ints  # which phrasings the known ones are
    missing_rows: Ints


def fit(rows: Rows, lexicon: Lexicon) -> Fitted:
    """Choose the parameters, fit the head where there can be one, ask every phrasing."""
    with _one_thread():
        index = _index(rows, lexicon, choose(rows, lexicon))
        return _ask_the_head(index, rows) if _can_have_a_head(index) else _ask_the_vote(index, rows)


def fit_index(rows: Rows, lexicon: Lexicon, parameters: RetrievalParameters | None = None) -> Index:
    """Choose the parameters unless given, fit the head where there can be one; ask nothing."""
    with _one_thread():
        index = _index(rows, lexicon, parameters or choose(rows, lexicon))
        return (
            replace(index, head=KernelRidgeFit.of(index).head) if _can_have_a_head(index) else index
        )


def _one_thread() -> AbstractContextManager[object]:
    # Two threads of OpenBLAS that spin for each other lose ten times the speed as soon as
    # something else wants the cores (docs/log.md).
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def _can_have_a_head(index: Index) -> bool:
    count = len(index.entry_of)
    return count <= MOST_ROWS and count * index.entries <= _MOST_WEIGHTS


def try_out(rows: Rows, lexicon: Lexicon, held_out: Flags) -> Fitted:
    """Fit on the rows that are not held out, and ask the phrasings that are.

    For the missing ones their own entry is taken out of the answer, not out of the fit, so
    that they look a little easier to tell than they are.
    """
    asked = rows.some(np.flatnonzero(held_out))
    answers = np.arange(rows.phrasings, len(rows.texts))
    index = fit_index(rows.some(np.r_[np.flatnonzero(~held_out), answers]), lexicon)
    expected = [frozenset({int(entry)}) for entry in asked.entry_of]
    known = predict_as_new(index, asked.texts, asked.embeddings, expected)
    rows_asked = np.flatnonzero(held_out)
    return Fitted(index, known, _ask_without_entry(index, asked), rows_asked, rows_asked)


def _ask_without_entry(index: Index, asked: Rows) -> LabelledPredictions:
    parts = []
    for block in blocks(np.arange(len(asked.texts)), len(index.entry_of)):
        own = asked.entry_of[block]
        similarities = index.compare([asked.texts[i] for i in block], asked.embeddings[block])
        similarities[own[:, None] == index.entry_of] = NOT_A_ROW
        scores = index.scores(similarities)
        scores[np.arange(len(block)), own] = NOT_A_ROW
        evidence = index.rank(similarities, scores)
        parts.append(LabelledPredictions(features(evidence), np.zeros(len(block), bool)))
    return LabelledPredictions.join(parts)


def _ask_the_head(index: Index, rows: Rows) -> Fitted:
    inverse = KernelRidgeFit.of(index)
    index = replace(index, head=inverse.head)
    asked = rows.unique()
    several = asked[np.bincount(index.entry_of)[index.entry_of[asked]] > 1]
    known = _ask(index, several, inverse.without_row(), without_entry=False)
    if index.entries == 1:
        return Fitted(index, known, LabelledPredictions.join([]), several, asked[:0])
    missing = _ask(index, asked, inverse.without_entry(), without_entry=True)
    return Fitted(index, known, missing, several, asked)


def _ask_the_vote(index: Index, rows: Rows) -> Fitted:
    asked = rows.unique()
    asked = asked[np.linspace(0, len(asked) - 1, min(_ASKED, len(asked))).astype(np.int64)]
    known = _ask(index, asked, None, without_entry=False)
    missing = _ask(index, asked, None, without_entry=True)
    return Fitted(index, known, missing, asked, asked)


def _ask(
    index: Index, asked: Ints, scores: Floats | None, *, without_entry: bool
) -> LabelledPredictions:
    """Ask phrasings, each without itself or its whole entry; no scores: the vote's."""
    parts = []
    for block in blocks(asked, len(index.entry_of)):
        similarities = index.pairwise_similarities(block)
        own = (
            index.entry_of[block, None] == index.entry_of
            if without_entry
            else block[:, None] == np.arange(len(index.entry_of))
        )
        similarities[own] = NOT_A_ROW
        found = index.scores(similarities) if scores is None else scores[block]
        evidence = index.rank(similarities, found)
        parts.append(
            LabelledPredictions(features(evidence), evidence.entries[:, 0] == index.entry_of[block])
        )
    return LabelledPredictions.join(parts)


def predict_as_new(
    index: Index, texts: Sequence[str], embeddings: Floats, expected: Sequence[frozenset[int]]
) -> LabelledPredictions:
    """Ask normalised questions that are no phrasings; expected: the places of right entries."""
    parts = []
    for block in blocks(np.arange(len(texts)), len(index.entry_of)):
        evidence = index.search([texts[i] for i in block], embeddings[block])
        right = [
            entry in expected[i]
            for i, entry in zip(block, evidence.entries[:, 0].tolist(), strict=True)
        ]
        parts.append(LabelledPredictions(features(evidence), np.array(right, bool)))
    return LabelledPredictions.join(parts)


def choose(rows: Rows, lexicon: Lexicon) -> RetrievalParameters:
    """Return the parameters under which phrasings that are left out are told apart best."""
    best = RetrievalParameters()
    chosen = _sample(rows)
    if chosen is None:
        return best
    few = rows.some(chosen)
    present = {script(text) for text in few.texts}
    for kind in [kind for kind in Script if kind in present]:
        tried = [
            replace(best, sharpness=sharpness, lexical=best.lexical | {kind: lexical})
            for sharpness, lexical in product(_SHARPNESS, _LEXICAL)
        ]
        best = max(tried, key=partial(_likelihood, few, lexicon))
    return best


def _sample(rows: Rows) -> Ints | None:
    """Return rows of whole entries' shares, or None if no phrasing can be left out."""
    asked = rows.unique()
    if len(asked) < _FEWEST or rows.entry_of.max() == 0:
        return None
    spread = np.linspace(0, rows.phrasings - 1, min(_SAMPLE, rows.phrasings)).astype(np.int64)
    entries = np.unique(rows.entry_of[spread])
    answers = np.arange(rows.phrasings, len(rows.texts))
    return np.concatenate([spread, answers[np.isin(rows.entry_of[answers], entries)]])


def _likelihood(rows: Rows, lexicon: Lexicon, parameters: RetrievalParameters) -> float:
    index = _index(rows, lexicon, parameters)
    left_out = KernelRidgeFit.of(index).without_row()[rows.unique()]
    entry_of = index.entry_of[rows.unique()]
    return max(_log_share(left_out * steepness, entry_of) for steepness in _STEEPNESS)


def _log_share(scores: Floats, entry_of: Ints) -> float:
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
