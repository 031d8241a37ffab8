"""The index: similarities of a question to all rows, scores of entries.

The rows are all phrasings, then the answer text of each entry. The similarity to a row mixes
meaning (cosine of embeddings) and spelling (`worker.model.retrieval.lexicon`) by script. Scores
of entries come from the head or, if there are too many rows to fit one, from a vote:

- head: a weighted sum of exp(sharpness * (similarity - 1)) over all rows, the least-squares
  classifier with this kernel (Rifkin, Yeo and Poggio, "Regularized least-squares
  classification", 2003);
- vote: an entry's share of the votes of the nearest rows; nearer rows have more weight.

Not covered: confidence (`worker.model.retrieval.confidence`) and fitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.model.retrieval.lexicon import Lexicon
from worker.text.normalization import Script, script

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

NOT_A_ROW = np.float32(-np.inf)  # the similarity to a row that is left out

_FEW = 8  # nearest rows whose mean similarity shows the density around a question
_GROUP = 8
BLOCK = 16  # questions multiplied at once; higher: slower for one question, faster for many


@dataclass(frozen=True)
class RetrievalParameters:
    """The parameters of similarity and score, named as in the manifest."""

    sharpness: float = 2.0  # of the head; higher: near rows weigh more, distant ones less
    # The weight of spelling against that of meaning. The English encoder reads little Chinese.
    lexical: dict[Script, float] = field(
        default_factory=lambda: {Script.SPACED: 0.2, Script.CJK: 0.9}
    )
    neighbours: int = 15  # rows that vote; higher: steadier, but large entries beat small ones
    vote_sharpness: float = 12.0  # higher: the nearest row decides alone

    def shares(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return the factors of each text's meaning and spelling: (texts, 1) each.

        Their squares add up to 1, so that the similarity of a text to itself is 1.
        """
        lexical = np.array([self.lexical[script(text)] for text in texts], np.float32)[:, None]
        return np.sqrt(1 - lexical), np.sqrt(lexical)


@dataclass(frozen=True)
class RetrievalResult:
    """The best entries for some questions, a row for each question.

    There are as many ranks as requested, or as there are entries.
    """

    entries: Ints  # (questions, ranks), best first
    phrasings: Ints  # (questions, ranks): the nearest phrasing of each entry
    scores: Floats  # (questions, ranks)
    nearest: Floats  # (questions,): similarity of the nearest row
    mean_nearest: Floats  # (questions,): mean similarity of the nearest few rows
    best_entry: Floats  # (questions,): similarity of the nearest row of the best entry


@dataclass(frozen=True)
class Index:
    """All rows, prepared for comparison with questions."""

    parameters: RetrievalParameters
    entry_of: Ints  # (rows,)
    phrasings: int  # number of rows that are phrasings; the rest are answer texts
    meaning: Floats  # (rows, dimensions), scaled
    spelling: Any  # scipy CSR, (rows, n-grams), scaled
    spelling_by_ngram: Any  # its transpose (n-grams, rows), CSR too
    lexicon: Lexicon
    head: Floats | None = None  # (rows, entries); None: the nearest rows vote

    @classmethod
    def of(
        cls,
        *,
        parameters: RetrievalParameters,
        entry_of: Sequence[int] | Ints,
        texts: Sequence[str],
        phrasings: int,
        embeddings: Floats,
        lexicon: Lexicon,
        head: Floats | None = None,
    ) -> Index:
        """Build an index from normalized texts and their embeddings, of length 1."""
        by_meaning, by_spelling = parameters.shares(texts)
        spelling = lexicon.vectors(texts).multiply(by_spelling).tocsr()
        entries = np.asarray(entry_of, np.int64)
        meaning = np.ascontiguousarray(embeddings * by_meaning)
        by_ngram = spelling.T.tocsr()
        return cls(parameters, entries, phrasings, meaning, spelling, by_ngram, lexicon, head)

    @property
    def entries(self) -> int:
        """The number of entries."""
        return int(self.entry_of.max()) + 1

    def search(self, texts: Sequence[str], embeddings: Floats, ranks: int = 2) -> RetrievalResult:
        """Return the best entries for normalized texts and their embeddings."""
        similarities = self.compare(texts, embeddings)
        return self.rank(similarities, self.scores(similarities), ranks)

    def compare(self, texts: Sequence[str], embeddings: Floats) -> Floats:
        """Return (texts, rows) of similarities, 1 at most."""
        by_meaning, by_spelling = self.parameters.shares(texts)
        vectors = self.lexicon.vectors(texts).multiply(by_spelling).tocsr()
        return self._add_spelling(matmul(embeddings * by_meaning, self.meaning.T), vectors)

    def pairwise_similarities(self, rows: Ints) -> Floats:
        """Return (given rows, rows) of similarities, the rows' own included."""
        by_meaning = np.matmul(self.meaning[rows], self.meaning.T)
        return self._add_spelling(by_meaning, self.spelling[rows])

    def _add_spelling(self, similarities: Floats, spelling: Any) -> Floats:  # noqa: ANN401 - scipy is untyped
        similarities += (spelling @ self.spelling_by_ngram).toarray()
        return similarities

    def scores(self, similarities: Floats) -> Floats:
        """Return (questions, entries) of scores. `NOT_A_ROW` adds nothing."""
        if self.head is None:
            return self._votes(similarities)
        return matmul(kernel(similarities, self.parameters.sharpness), self.head)

    def _votes(self, similarities: Floats) -> Floats:
        rows, nearest = top_k(similarities, self.parameters.neighbours)
        votes = np.exp(self.parameters.vote_sharpness * (nearest - nearest[:, :1]))
        votes /= votes.sum(axis=1, keepdims=True)
        shares = np.zeros((len(similarities), self.entries), np.float32)
        np.add.at(shares, (np.arange(len(rows))[:, None], self.entry_of[rows]), votes)
        return shares

    def rank(self, similarities: Floats, scores: Floats, ranks: int = 2) -> RetrievalResult:
        """Return the best entries by score. At least one row must remain."""
        entries, best_scores = top_k(scores, ranks)
        nearest_rows = [
            self._nearest_of(entries[:, [rank]], similarities)
            for rank in range(best_scores.shape[1])
        ]
        phrasings = np.stack([of_rank for _, of_rank in nearest_rows], axis=1)
        _, few = top_k(similarities, _FEW)
        return RetrievalResult(
            entries=entries,
            phrasings=phrasings,
            scores=best_scores,
            nearest=few[:, 0],
            mean_nearest=few.mean(axis=1, where=np.isfinite(few)),
            best_entry=nearest_rows[0][0],
        )

    def _nearest_of(self, entry: Ints, similarities: Floats) -> tuple[Floats, Ints]:
        """Return the similarity of an entry's nearest row, and its phrasing."""
        own = np.where(self.entry_of == entry, similarities, NOT_A_ROW)
        return own.max(axis=1), own[:, : self.phrasings].argmax(axis=1)


def matmul(questions: Floats, matrix: Floats) -> Floats:
    """Return questions @ matrix, bit by bit the same for any other rows.

    BLAS sums in another order for another shape, so all products have the same shape.
    """
    rows = len(questions)
    blocks = -(-rows // BLOCK)
    padded = np.zeros((blocks * BLOCK, questions.shape[1]), np.float32)
    padded[:rows] = questions
    product = np.empty((len(padded), matrix.shape[1]), np.float32)
    for start in range(0, len(padded), BLOCK):
        block = slice(start, start + BLOCK)
        # Transposed, so that BLAS repacks the few questions and not the whole matrix.
        product[block] = np.matmul(matrix.T, padded[block].T).T
    return product[:rows]


def kernel(similarities: Floats, sharpness: float) -> Floats:
    """Return each row's weight: 1 for an equal text, 0 for a row left out."""
    values: Floats = np.exp(np.float32(sharpness) * (similarities - np.float32(1)))
    return values


def top_k(values: Floats, count: int) -> tuple[Ints, Floats]:
    """Return the columns and values of each row's largest values, sorted.

    Strided groups of columns are compared first: the largest values can only be in the groups
    with the largest maxima, and partitioning those is eight times less work.
    """
    rows, width = values.shape
    count = min(count, width)
    columns = np.broadcast_to(np.arange(width), values.shape)
    groups = width // _GROUP
    if groups > count:
        maxima = values[:, : groups * _GROUP].reshape(rows, _GROUP, groups).max(axis=1)
        best = np.argpartition(maxima, -count, axis=1)[:, -count:]
        members = (best[:, None, :] + groups * np.arange(_GROUP)[:, None]).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(groups * _GROUP, width), (rows, width % _GROUP))
        columns = np.concatenate([members, rest], axis=1)
    columns = np.sort(columns, axis=1)  # equal values keep the order of the knowledge base
    candidates = np.take_along_axis(values, columns, 1)
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(columns, order, 1), np.take_along_axis(candidates, order, 1)
