"""Similarity by spelling: TF-IDF over runs of one to three characters.

Catches the product names, error codes and Chinese words that the encoder doesn't know.
scikit-learn's vectoriser gives the same weights but spends 6 ms of Python on 128
questions, more than a GPU spends on encoding them; here a run of three characters is
packed into one 64-bit number (21 bits each, so no two runs collide) and counted by numpy.

Unlike scikit-learn's, a run that no phrasing holds counts in the length of a question's
vector: the more of a question is unknown, the less it resembles anything.
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

# Runs in more phrasings than this tell little and cost most of the time.
COMMON_SHARE = 0.05
COMMON_FLOOR = 50


@dataclass(frozen=True)
class Lexicon:
    """The known runs, ascending, and what each weighs; 0 for a common one."""

    codes: NDArray[np.uint64]
    idf: NDArray[np.float32]
    unseen: float  # what a run weighs that no phrasing holds

    def vectors(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - scipy is untyped
        """Return one row of length 1 or less per normalised text: (texts, runs), CSR."""
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


def learn(texts: Sequence[str]) -> Lexicon:
    """Return the runs of the normalised texts, at least one of which is not empty."""
    rows, codes = char_ngrams(texts)
    known, columns = np.unique(codes, return_inverse=True)
    held = np.unique(rows * len(known) + columns) % len(known)
    phrasings = np.bincount(held, minlength=len(known))
    idf = np.log((1 + len(texts)) / (1 + phrasings)) + 1
    idf[phrasings > max(COMMON_FLOOR, COMMON_SHARE * len(texts))] = 0
    return Lexicon(known, idf.astype(np.float32), unseen_weight(len(texts)))


def unseen_weight(phrasings: int) -> float:
    """Return the weight of a run in none of that many phrasings."""
    return float(np.log(1 + phrasings) + 1)


def char_ngrams(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return every run of every text: the text it is in, and its characters in one number."""
    # Where words are spaced, how one begins and ends tells something.
    padded = [text if script(text) is Script.CJK else f" {text} " for text in texts]
    chars = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    row_of = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    rows, codes, run = [], [], np.zeros(len(chars), np.uint64)
    for length in range(1, LONGEST_NGRAM + 1):
        last = len(chars) - length + 1
        run = (run[:last] << np.uint64(_BITS)) | chars[length - 1 :]
        whole = row_of[:last] == row_of[length - 1 :]
        rows.append(row_of[:last][whole])
        codes.append(run[whole])
    return np.concatenate(rows), np.concatenate(codes)
