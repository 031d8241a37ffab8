"""Retrieval for large knowledge bases, by a shortlist of the rows.

The shortlist has the rows nearest by meaning, from `worker.model.retrieval.ivf`, and those
nearest by spelling, by the rarest n-grams of the question. The question is compared with them
exactly, and the entries are ranked as in `worker.model.retrieval.index`. Other rows do not
count. Each question has a shortlist of its own, so its result does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from worker.model.retrieval.index import Floats, Index, Ints, RetrievalResult
from worker.model.retrieval.ivf import IvfIndex

_BY_MEANING = 96  # rows; higher: more likely to hold all rows that would vote, slower
_BY_SPELLING = 96  # rows; the same
_POSTINGS = 20_000  # read for the rarest n-grams of a question; higher: finds more, slower


@dataclass(frozen=True)
class Shortlist:
    """An index without a head, searched through shortlists."""

    index: Index
    ivf: IvfIndex

    def search(self, texts: Sequence[str], embeddings: Floats, ranks: int = 2) -> RetrievalResult:
        """Return the best entries for normalized texts and their embeddings."""
        by_meaning, by_spelling = self.index.parameters.shares(texts)
        spelling = self.index.lexicon.vectors(texts).multiply(by_spelling).tocsr()
        results = [
            self._search_one(embedding, embedding * by_meaning[i], spelling[[i]], ranks)
            for i, embedding in enumerate(embeddings)
        ]
        columns = (
            [getattr(result, field.name) for result in results] for field in fields(RetrievalResult)
        )
        return RetrievalResult(*(np.concatenate(column) for column in columns))

    def _search_one(
        self,
        embedding: Floats,
        meaning: Floats,
        spelling: Any,  # noqa: ANN401 - scipy is untyped
        ranks: int,
    ) -> RetrievalResult:
        rows = self._rows(embedding, spelling, ranks)
        similarities = self.index.meaning[rows] @ meaning
        similarities += (self.index.spelling[rows] @ spelling.T).toarray()[:, 0]
        # The rows of a shortlist are an index with its own numbers, which are translated back.
        entries, entry_of = np.unique(self.index.entry_of[rows], return_inverse=True)
        phrasings = int(np.searchsorted(rows, self.index.phrasings))
        small = replace(self.index, entry_of=entry_of, phrasings=phrasings)
        result = small.rank(similarities[None], small.scores(similarities[None]), ranks)
        return replace(result, entries=entries[result.entries], phrasings=rows[result.phrasings])

    def _rows(self, embedding: Floats, spelling: Any, ranks: int) -> Ints:  # noqa: ANN401 - scipy is untyped
        near = np.concatenate(
            [self.ivf.nearest(embedding, _BY_MEANING), self._nearest_by_spelling(spelling)]
        )
        # An answer text brings a phrasing of its entry. The first entries ensure a runner-up.
        answers = self.index.entry_of[near[near >= self.index.phrasings]]
        first = self._first_phrasings
        return np.unique(np.concatenate([near, first[answers], first[:ranks]]))

    def _nearest_by_spelling(self, spelling: Any) -> Ints:  # noqa: ANN401 - scipy is untyped
        """Return the rows that share most weight with a text's rarest n-grams."""
        by_ngram = self.index.spelling_by_ngram
        frequencies = np.diff(by_ngram.indptr)[spelling.indices]
        rarest = np.argsort(frequencies, kind="stable")
        read = rarest[np.cumsum(frequencies[rarest]) <= _POSTINGS]
        ngrams, weights = spelling.indices[read], spelling.data[read]
        postings = [slice(*by_ngram.indptr[ngram : ngram + 2]) for ngram in ngrams]
        if not postings:
            return np.zeros(0, np.int64)
        rows, row_of = np.unique(
            np.concatenate([by_ngram.indices[posting] for posting in postings]),
            return_inverse=True,
        )
        shares = [
            by_ngram.data[posting] * weight
            for posting, weight in zip(postings, weights, strict=True)
        ]
        sums = np.bincount(row_of, weights=np.concatenate(shares))
        return rows[np.argsort(-sums, kind="stable")[:_BY_SPELLING]].astype(np.int64)

    @cached_property
    def _first_phrasings(self) -> Ints:
        """The first phrasing of each entry: (entries,)."""
        _, first = np.unique(self.index.entry_of[: self.index.phrasings], return_index=True)
        return first.astype(np.int64)
