"""TF-IDF vectors of n-grams of characters and words, for the cascade.

The word n-grams are single words and pairs of adjacent words. The character n-grams are those
of `worker.model.retrieval.lexicon`. As there, one that no phrasing has adds to the length of a
text's vector, so that a short vector shows an unknown text. No number of a row depends on the
other rows.
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
from worker.model.retrieval.lexicon import DocumentFrequencies, char_ngrams, unseen_weight

_WORD = np.uint64(1 << 63)  # character n-grams take 63 bits, so no word collides with one
_PAIR = 1 << 32
_FEWEST = 2  # phrasings that a word must be in


@dataclass(frozen=True)
class NgramVectorizer:
    """The known n-grams, ascending, and their weights, 0 if too common."""

    codes: NDArray[np.uint64]
    idf: Floats
    unseen: float  # weight of a character n-gram that no phrasing has

    def vectors(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - scipy is untyped
        """Return (texts, n-grams) in CSR, rows of length 1 or less."""
        rows, codes = _ngrams(texts)
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
    """Return the vectorizer of normalized texts, not all of them empty."""
    frequencies = DocumentFrequencies.of(*_ngrams(texts), len(texts))
    is_char_ngram = frequencies.codes < _WORD
    idf = frequencies.idf()
    idf[is_char_ngram & frequencies.common()] = 0
    kept = is_char_ngram | (frequencies.counts >= _FEWEST)
    return NgramVectorizer(
        frequencies.codes[kept], idf[kept].astype(np.float32), unseen_weight(len(texts))
    )


def _ngrams(texts: Sequence[str]) -> tuple[Ints, NDArray[np.uint64]]:
    """Return each occurrence of an n-gram: its text and its code."""
    rows, codes = char_ngrams(texts)
    words = [_word_codes(text) for text in texts]
    word_rows = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in words])
    word_codes = np.fromiter(chain.from_iterable(words), np.uint64, len(word_rows))
    return np.concatenate([rows, word_rows]), np.concatenate([codes, word_codes | _WORD])


def _word_codes(text: str) -> list[int]:
    """Return the codes of the words, then those of adjacent pairs of words."""
    words = text.encode().split()
    codes = [zlib.crc32(word) for word in words]
    pairs = zip(codes, words[1:], strict=False)
    # The checksum of a pair continues that of its first word.
    return codes + [_PAIR | zlib.crc32(b" " + second, first) for first, second in pairs]
