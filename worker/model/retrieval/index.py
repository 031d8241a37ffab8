"""From a question to the entry that fits best, and how well it fits.

What is known are rows: every phrasing, then every entry's answer text. A question resembles
a row by meaning (cosine of the embeddings) and by spelling (`worker.model.retrieval.lexicon`), mixed
by the scripts of the two. From the similarities each entry gets a score, in one of two ways:

- the head, where the rows are few enough to fit one: a weighted sum of
  exp(sharpness * (similarity - 1)) over all rows. It is the least-squares classifier with
  that kernel (Rifkin, Yeo and Poggio, "Regularized least-squares classification", 2003);
- a vote of the nearest rows, where they are many: the share of the votes, nearer ones more.

How sure an answer is, is `worker.model.retrieval.confidence`'s business; how all of this is fitted,
`worker.lifecycle.build.fit`'s.
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

NOT_A_ROW = np.float32(-np.inf)  # in place of a similarity: the row is left out

_FEW = 8  # nearest rows whose mean similarity tells how dense it is there
_GROUP = 8
BLOCK = 16  # questions that are multiplied at once; more: slower for one, faster for many


@dataclass(frozen=True)
class RetrievalParameters:
    """The parameters of similarity and score."""

    sharpness: float = 2.0  # of the head; more: near rows count more, far ones less
    # How much spelling counts beside meaning. The English encoder reads little Chinese.
    lexical: dict[Script, float] = field(
        default_factory=lambda: {Script.SPACED: 0.2, Script.CJK: 0.9}
    )
    neighbours: int = 15  # that vote; more: steadier, and small entries lose to big ones
    vote_sharpness: float = 12.0  # more: the nearest decides alone

    def shares(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return what meaning and spelling of each text are scaled by: (texts, 1) each.

        The squares add up to 1, so that a text's similarity to itself is 1.
        """
        lexical = np.array([self.lexical[script(text)] for text in texts], np.float32)[:, None]
        return np.sqrt(1 - lexical), np.sqrt(lexical)


@dataclass(frozen=True)
class RetrievalResult:
    """What the rows say about questions: a row per question.

    The entries that fit best come first; there are as many as were asked for, or all.
    """

    entries: Ints  # (questions, ranks)
    phrasings: Ints  # (questions, ranks): the nearest phrasing of each entry
    scores: Floats  # (questions, ranks)
    nearest: Floats  # (questions,): similarity of the nearest row
    near: Floats  # (questions,): mean similarity of the nearest few
    own: Floats  # (questions,): similarity of the nearest row of the best entry


@dataclass(frozen=True)
class Index:
    """Every row, ready to be compared with."""

    parameters: RetrievalParameters
    entry_of: Ints  # (rows,)
    phrasings: int  # the first so many rows are phrasings, the rest answer texts
    meaning: Floats  # (rows, dimensions), scaled
    spelling: Any  # scipy CSR, (rows, runs), scaled
    turned: Any  # the same as (runs, rows), CSR again
    lexicon: Lexicon
    head: Floats | None = None  # (rows, entries); None: the vote decides

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
        """Put an index together from normalised texts and their embeddings, of length 1."""
        by_meaning, by_spelling = parameters.shares(texts)
        spelling = lexicon.vectors(texts).multiply(by_spelling).tocsr()
        entries = np.asarray(entry_of, np.int64)
        meaning = np.ascontiguousarray(embeddings * by_meaning)
        turned = spelling.T.tocsr()
        return cls(parameters, entries, phrasings, meaning, spelling, turned, lexicon, head)

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return int(self.entry_of.max()) + 1

    def search(self, texts: Sequence[str], embeddings: Floats, ranks: int = 2) -> RetrievalResult:
        """Return what the rows say about normalised texts with their embeddings."""
        similarities = self.compare(texts, embeddings)
        return self.rank(similarities, self.scores(similarities), ranks)

    def compare(self, texts: Sequence[str], embeddings: Floats) -> Floats:
        """Return (texts, rows) of similarities, 1 at most."""
        by_meaning, by_spelling = self.parameters.shares(texts)
        vectors = self.lexicon.vectors(texts).multiply(by_spelling).tocsr()
        return self._similar(times(embeddings * by_meaning, self.meaning.T), vectors)

    def pairwise_similarities(self, rows: Ints) -> Floats:
        """Return (given rows, rows) of similarities, those of rows to themselves included."""
        return self._similar(np.matmul(self.meaning[rows], self.meaning.T), self.spelling[rows])

    def _similar(self, similarities: Floats, spelling: Any) -> Floats:  # noqa: ANN401 - scipy is untyped
        similarities += (spelling @ self.turned).toarray()
        return similarities

    def scores(self, similarities: Floats) -> Floats:
        """Return (questions, entries) of scores; rows at `NOT_A_ROW` have no say."""
        if self.head is None:
            return self._votes(similarities)
        return times(kernel(similarities, self.parameters.sharpness), self.head)

    def _votes(self, similarities: Floats) -> Floats:
        rows, found = largest(similarities, self.parameters.neighbours)
        votes = np.exp(self.parameters.vote_sharpness * (found - found[:, :1]))
        votes /= votes.sum(axis=1, keepdims=True)
        shares = np.zeros((len(similarities), self.entries), np.float32)
        np.add.at(shares, (np.arange(len(rows))[:, None], self.entry_of[rows]), votes)
        return shares

    def rank(self, similarities: Floats, scores: Floats, ranks: int = 2) -> RetrievalResult:
        """Return what similarities and scores say; at least one row must have a say."""
        entries, top = largest(scores, ranks)
        nearest = [
            self._nearest_of(entries[:, [rank]], similarities) for rank in range(top.shape[1])
        ]
        own, phrasings = nearest[0][0], np.stack([places for _, places in nearest], axis=1)
        _, few = largest(similarities, _FEW)
        near = few.mean(axis=1, where=np.isfinite(few))
        return RetrievalResult(entries, phrasings, top, few[:, 0], near, own)

    def _nearest_of(self, entry: Ints, similarities: Floats) -> tuple[Floats, Ints]:
        """Return the similarity of each question's nearest row of an entry, and its phrasing."""
        own = np.where(self.entry_of == entry, similarities, NOT_A_ROW)
        return own.max(axis=1), own[:, : self.phrasings].argmax(axis=1)


def times(questions: Floats, matrix: Floats) -> Floats:
    """Return questions @ matrix; no bit of a row depends on the other rows, nor on its place.

    BLAS sums up in another order for another shape, so every product has the same shape.
    """
    rows = len(questions)
    blocks = -(-rows // BLOCK)
    padded = np.zeros((blocks * BLOCK, questions.shape[1]), np.float32)
    padded[:rows] = questions
    product = np.empty((len(padded), matrix.shape[1]), np.float32)
    for start in range(0, len(padded), BLOCK):
        block = slice(start, start + BLOCK)
        # Turned round, so that BLAS repacks the few questions and not the whole matrix.
        product[block] = np.matmul(matrix.T, padded[block].T).T
    return product[:rows]


def kernel(similarities: Floats, sharpness: float) -> Floats:
    """Return how much each row has a say: 1 for the question itself, 0 for one left out."""
    values: Floats = np.exp(np.float32(sharpness) * (similarities - np.float32(1)))
    return values


def largest(values: Floats, count: int) -> tuple[Ints, Floats]:
    """Return the columns of each row's largest values, largest first, and the values.

    Columns are first taken together in strided groups: the largest values can only be in
    the groups with the largest maxima, and partitioning those is eight times less work.
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
    found = np.take_along_axis(values, columns, 1)
    order = np.argsort(-found, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(columns, order, 1), np.take_along_axis(found, order, 1)
