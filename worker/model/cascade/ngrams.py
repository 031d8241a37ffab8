"""What the cascade reads of a text: runs of characters, words, and words side by side, as TF-IDF.

The runs are those of `worker.model.retrieval.lexicon`; as there, one that no phrasing holds counts in
the length of the text's vector, so that what is unknown is told by what is missing of it. No
number of a row depends on the other rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from worker.model.retrieval.index import Floats, Ints
from worker.model.retrieval.lexicon import COMMON_FLOOR, COMMON_SHARE, char_ngrams, unseen_weight

_WORD = np.uint64(1 << 63)  # runs take 63 bits, so no word collides with one
_PAIR = 1 << 32
_FEWEST = 2  # phrasings that a word must be in


@dataclass(frozen=True)
class NgramVectorizer:
    """The known grams, ascending, and what each weighs; 0 for a common run."""

    codes: NDArray[np.uint64]
    idf: Floats
    unseen: float  # what a run weighs that no phrasing holds

    def vectors(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - scipy is untyped
        """Return one row of length 1 or less per normalised text: (texts, grams), CSR."""
        rows, codes = _grams(texts)
        columns = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        known = self.codes[columns] == codes
        keys, counts = np.unique(rows[known] * len(self.codes) + columns[known], return_counts=True)
        row_of, column_of = np.divmod(keys, len(self.codes))
        weights = (1 + np.log(counts)) * self.idf[column_of]
        unseen = np.bincount(rows[~known & (codes < _WORD)], minlength=len(texts))
        squares = np.bincount(row_of, weights**2, len(texts)) + unseen * self.unseen**2
        kept = weights > 0
        row_of, column_of = row_of[kept], column_of[kept].astype(np.int32)
        data = (weights[kept] / np.sqrt(squares[row_of])).astype(np.float32)
        ends = np.searchsorted(row_of, np.arange(len(texts) + 1)).astype(np.int32)
        return sp.csr_array((data, column_of, ends), shape=(len(texts), len(self.codes)))


def learn(texts: Sequence[str]) -> NgramVectorizer:
    """Return the grams of normalised texts, at least one of which is not empty."""
    rows, codes = _grams(texts)
    known, columns = np.unique(codes, return_inverse=True)
    held = np.unique(rows * len(known) + columns) % len(known)
    phrasings = np.bincount(held, minlength=len(known))
    idf = np.log((1 + len(texts)) / (1 + phrasings)) + 1
    is_run = known < _WORD
    idf[is_run & (phrasings > max(COMMON_FLOOR, COMMON_SHARE * len(texts)))] = 0
    kept = is_run | (phrasings >= _FEWEST)
    return NgramVectorizer(known[kept], idf[kept].astype(np.float32), unseen_weight(len(texts)))


def _grams(texts: Sequence[str]) -> tuple[Ints, NDArray[np.uint64]]:
    """Return every gram of every text: the text it is in, and its code."""
    rows, codes = char_ngrams(texts)
    words = [_words(text) for text in texts]
    places = np.repeat(np.arange(len(texts)), [len(found) for found in words])
    found = np.fromiter(chain.from_iterable(words), np.uint64, len(places))
    return np.concatenate([rows, places]), np.concatenate([codes, found | _WORD])


def _words(text: str) -> list[int]:
    """Return the codes of a normalised text's words and of the pairs side by side."""
    words = text.encode().split()
    codes = [zlib.crc32(word) for word in words]
    pairs = zip(codes, words[1:], strict=False)
    # The checksum of a pair goes on from that of its first word.
    return codes + [_PAIR | zlib.crc32(b" " + word, before) for before, word in pairs]
