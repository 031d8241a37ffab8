"""From a question to the nearest known phrasings, and their votes on the entry.

A phrasing resembles a question by meaning (cosine of the embeddings) and by spelling
(`worker.model.lexical`), mixed by the question's script. Some phrasings resemble
everything; from each its hubness is taken, half the mean similarity to its own nearest
phrasings (CSLS: Conneau et al., "Word translation without parallel data", ICLR 2018,
equation 3), mixed as for the question. The nearest then vote for their entries, nearer
ones more.

What was measured for the numbers below is in docs/log.md. How sure an answer is, is
`worker.model.confidence`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.model.lexical import Lexicon
from worker.model.text import Script, script

Floats = NDArray[np.float32]
Kinds = NDArray[np.int64]  # of questions: places in Script

_GROUP = 8


@dataclass(frozen=True)
class Retrieval:
    """The parameters of the vote."""

    neighbours: int = 15  # more: steadier, and small entries lose to big ones
    sharpness: float = 12.0  # of exp(sharpness * similarity); more: the nearest decides alone
    hubness: float = 0.5  # the share of a phrasing's hubness that is taken off
    # How much spelling counts beside meaning. The English encoder reads little Chinese.
    lexical: dict[Script, float] = field(
        default_factory=lambda: {Script.SPACED: 0.2, Script.CJK: 0.9}
    )


@dataclass(frozen=True)
class Nearest:
    """What the vote said: an array per column, a row per question."""

    entry: NDArray[np.int64]
    phrasing: NDArray[np.int64]  # the winner's nearest
    similarity: Floats  # of that phrasing; 1 at most
    share: Floats  # of the votes that the winner has


@dataclass(frozen=True)
class Index:
    """Every phrasing, ready to be compared with."""

    parameters: Retrieval
    entry_of: NDArray[np.int64]  # (phrasings,)
    embeddings: Floats  # (phrasings, dimensions), rows of length 1
    hubness: Floats  # (scripts, phrasings)
    lexicon: Lexicon
    spellings: Any  # scipy CSR, (phrasings, runs): the phrasings' vectors
    turned: Any  # the same as (runs, phrasings), CSR again

    @classmethod
    def of(
        cls,
        *,
        parameters: Retrieval,
        entry_of: Sequence[int],
        embeddings: Floats,
        hubness: Floats,
        lexicon: Lexicon,
        spellings: Any,  # noqa: ANN401 - scipy is untyped
    ) -> Index:
        """Put an index together."""
        entries = np.asarray(entry_of, np.int64)
        turned = spellings.T.tocsr()
        return cls(parameters, entries, embeddings, hubness, lexicon, spellings, turned)

    def nearest(self, texts: Sequence[str], embeddings: Floats) -> Nearest:
        """Let the phrasings nearest to normalised texts, with their embeddings, vote."""
        kinds = scripts(texts)
        return self.vote(self.compare(embeddings, self.lexicon.vectors(texts), kinds), kinds)

    def compare(self, embeddings: Floats, vectors: Any, kinds: Kinds) -> Floats:  # noqa: ANN401 - scipy is untyped
        """Return (questions, phrasings) of similarities, 1 at most."""
        lexical = [self.parameters.lexical[kind] for kind in Script]
        weights = np.asarray(lexical, np.float32)[kinds, None]
        by_meaning = embeddings * (np.float32(1) - weights)
        similarities: Floats = np.matmul(by_meaning, self.embeddings.T)
        similarities += (vectors.multiply(weights).tocsr() @ self.turned).toarray()
        return similarities

    def vote(self, similarities: Floats, kinds: Kinds) -> Nearest:
        """Let the nearest phrasings vote; -inf takes one out of the vote."""
        corrected = similarities - (self.parameters.hubness * self.hubness)[kinds]
        near, scores = _largest(corrected, self.parameters.neighbours)
        weights = np.exp(self.parameters.sharpness * (scores - scores[:, :1]))
        entries = self.entry_of[near]
        votes = ((entries[:, :, None] == entries[:, None, :]) * weights[:, None, :]).sum(axis=2)
        first = votes.argmax(axis=1)[:, None]  # the nearest phrasing of the winner
        phrasing = np.take_along_axis(near, first, 1)
        return Nearest(
            entry=self.entry_of[phrasing[:, 0]],
            phrasing=phrasing[:, 0],
            similarity=np.take_along_axis(similarities, phrasing, 1)[:, 0],
            share=(np.take_along_axis(votes, first, 1)[:, 0] / weights.sum(axis=1)),
        )


def scripts(texts: Sequence[str]) -> Kinds:
    """Return the place of each text's script in `Script`."""
    places = {kind: place for place, kind in enumerate(Script)}
    return np.array([places[script(text)] for text in texts], np.int64)


def _largest(values: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
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
