"""Similarity by spelling: TF-IDF over n-grams of 1 to 3 characters.

It covers product names, error codes and Chinese words that the encoder does not know.
scikit-learn's vectorizer gives the same weights, but spends 6 ms of Python on 128 questions,
more than a GPU spends on encoding them. Here, numpy counts n-grams packed into 64-bit numbers
(21 bits a character, so that no two collide).

Unlike in scikit-learn, an n-gram of no phrasing adds to the length of a question's vector: the
more of a question is unknown, the less similar it is to any phrasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from worker.text.normalization import Script, script

LONGEST_NGRAM = 3
_BITS = 21  # of a Unicode code point

# N-grams in more phrasings than both limits discriminate little and cost most of the time.
COMMON_SHARE = 0.05
COMMON_FLOOR = 50


@dataclass(frozen=True)
class Lexicon:
    """The known n-grams, ascending, and their weights, 0 for a common one."""

    codes: NDArray[np.uint64]
    idf: NDArray[np.float32]
    unseen: float  # weight of an n-gram that no phrasing has

    def vectors(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - scipy is untyped
        """Return (texts, n-grams) in CSR, rows of length 1 or less."""
        rows, codes = char_ngrams(texts)
        columns, known = self._columns(codes)
        keys, counts = np.unique(rows[known] * len(self.codes) + columns[known], return_counts=True)
        row_of, column_of = np.divmod(keys, len(self.codes))
        weights = (1 + np.log(counts)) * self.idf[column_of]
        unseen = np.bincount(rows[~known], minlength=len(texts))
        squares = np.bincount(row_of, weights**2, len(texts)) + unseen * self.unseen**2
        kept = weights > 0
        data = (weights / np.sqrt(squares[row_of], where=kept, out=np.ones_like(weights)))[kept]
        ends = np.searchsorted(row_of[kept], np.arange(len(texts) + 1))
        shape = (len(texts), len(self.codes))
        return sp.csr_array((data.astype(np.float32), column_of[kept], ends), shape=shape)

    def _columns(self, codes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        columns = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return columns, self.codes[columns] == codes


@dataclass(frozen=True)
class DocumentFrequencies:
    """The n-grams of some texts, ascending, and how many texts have each."""

    codes: NDArray[np.uint64]
    counts: NDArray[np.int64]  # texts with the n-gram
    texts: int

    @classmethod
    def of(
        cls, rows: NDArray[np.int64], codes: NDArray[np.uint64], texts: int
    ) -> DocumentFrequencies:
        """Count the texts of each n-gram from the texts of its occurrences."""
        known, columns = np.unique(codes, return_inverse=True)
        occurrences = np.unique(rows * len(known) + columns) % len(known)
        return cls(known, np.bincount(occurrences, minlength=len(known)), texts)

    def idf(self) -> NDArray[np.float64]:
        """Return smoothed inverse document frequencies, as scikit-learn does."""
        idf: NDArray[np.float64] = np.log((1 + self.texts) / (1 + self.counts)) + 1
        return idf

    def common(self) -> NDArray[np.bool_]:
        """Return which n-grams are in too many texts to discriminate."""
        return self.counts > max(COMMON_FLOOR, COMMON_SHARE * self.texts)


def learn(texts: Sequence[str]) -> Lexicon:
    """Return the lexicon of normalized texts, not all of them empty."""
    frequencies = DocumentFrequencies.of(*char_ngrams(texts), len(texts))
    idf = frequencies.idf()
    idf[frequencies.common()] = 0
    return Lexicon(frequencies.codes, idf.astype(np.float32), unseen_weight(len(texts)))


def unseen_weight(phrasings: int) -> float:
    """Return the weight of an n-gram in none of that many phrasings."""
    return float(np.log(1 + phrasings) + 1)


def char_ngrams(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the text and the code of each occurrence of an n-gram."""
    # In scripts with spaces, the beginning and the end of a word are informative.
    padded = [text if script(text) is Script.CJK else f" {text} " for text in texts]
    chars = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    row_of = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    rows, codes, ngram = [], [], np.zeros(len(chars), np.uint64)
    for length in range(1, LONGEST_NGRAM + 1):
        last = len(chars) - length + 1
        ngram = (ngram[:last] << np.uint64(_BITS)) | chars[length - 1 :]
        in_one_text = row_of[:last] == row_of[length - 1 :]
        rows.append(row_of[:last][in_one_text])
        codes.append(ngram[in_one_text])
    return np.concatenate(rows), np.concatenate(codes)
