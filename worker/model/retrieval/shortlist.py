"""Comparing a question with the rows that may fit, instead of all: for large knowledge bases.

The shortlist of a question holds the rows nearest by meaning, from `worker.model.retrieval.ivf`, and
those nearest by spelling, from its rarest runs. With these the question is compared exactly,
and judged as `worker.model.retrieval.index` judges by all rows. What neither finds has no say.
Every question is looked up by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from worker.model.retrieval.index import Floats, Index, Ints, RetrievalResult
from worker.model.retrieval.ivf import IvfIndex

_BY_MEANING = 96  # rows; more: surer to hold all that would vote, slower
_BY_SPELLING = 96
_POSTINGS = 20_000  # that are read for a question's rarest runs; more: finds more, slower


@dataclass(frozen=True)
class Shortlist:
    """An index without a head, asked through shortlists."""

    index: Index
    ivf: IvfIndex

    def search(self, texts: Sequence[str], embeddings: Floats, ranks: int = 2) -> RetrievalResult:
        """Return what the rows say about normalised texts with their embeddings."""
        by_meaning, by_spelling = self.index.parameters.shares(texts)
        spelling = self.index.lexicon.vectors(texts).multiply(by_spelling).tocsr()
        single = [
            self._judge(embedding, embedding * by_meaning[i], spelling[[i]], ranks)
            for i, embedding in enumerate(embeddings)
        ]
        columns = (
            [getattr(one, field.name) for one in single] for field in fields(RetrievalResult)
        )
        return RetrievalResult(*(np.concatenate(column) for column in columns))

    def _judge(
        self, embedding: Floats, meaning: Floats, spelling: Any, ranks: int
    ) -> RetrievalResult:  # noqa: ANN401 - scipy is untyped
        rows = self._rows(embedding, spelling, ranks)
        similarities = self.index.meaning[rows] @ meaning
        similarities += (self.index.spelling[rows] @ spelling.T).toarray()[:, 0]
        # Fewer rows of fewer entries are an index of their own; its places are put back after.
        entries, entry_of = np.unique(self.index.entry_of[rows], return_inverse=True)
        phrasings = int(np.searchsorted(rows, self.index.phrasings))
        few = replace(self.index, entry_of=entry_of, phrasings=phrasings)
        found = few.rank(similarities[None], few.scores(similarities[None]), ranks)
        return replace(found, entries=entries[found.entries], phrasings=rows[found.phrasings])

    def _rows(self, embedding: Floats, spelling: Any, ranks: int) -> Ints:  # noqa: ANN401 - scipy is untyped
        near = np.concatenate(
            [self.ivf.nearest(embedding, _BY_MEANING), self._by_spelling(spelling)]
        )
        # An answer text's entry has a phrasing beside it, and there is always a runner-up.
        answers = self.index.entry_of[near[near >= self.index.phrasings]]
        return np.unique(np.concatenate([near, self._first[answers], self._first[:ranks]]))

    def _by_spelling(self, spelling: Any) -> Ints:  # noqa: ANN401 - scipy is untyped
        """Return the rows that share most with the rarest runs of a text, at most so many."""
        turned = self.index.turned
        held = np.diff(turned.indptr)[spelling.indices]
        rarest = np.argsort(held, kind="stable")
        rare = rarest[np.cumsum(held[rarest]) <= _POSTINGS]
        runs, weights = spelling.indices[rare], spelling.data[rare]
        places = [slice(*turned.indptr[run : run + 2]) for run in runs]
        if not places:
            return np.zeros(0, np.int64)
        rows, which = np.unique(
            np.concatenate([turned.indices[place] for place in places]), return_inverse=True
        )
        shares = [
            turned.data[place] * weight for place, weight in zip(places, weights, strict=True)
        ]
        sums = np.bincount(which, weights=np.concatenate(shares))
        return rows[np.argsort(-sums, kind="stable")[:_BY_SPELLING]].astype(np.int64)

    @cached_property
    def _first(self) -> Ints:
        """The first phrasing of each entry: (entries,)."""
        _, first = np.unique(self.index.entry_of[: self.index.phrasings], return_index=True)
        return first.astype(np.int64)
