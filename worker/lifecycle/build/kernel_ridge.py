"""Fitting the head: kernel ridge regression, and what leaving rows out of it gives.

The head is kernel ridge regression on which entry a row belongs to. Its answers for a row
that is not known, and for one whose whole entry is not known, follow from the fitted one
without fitting again: with A the inverse of the regularised kernel matrix, w = A Y the
weights and S what is left out, they are Y_S - inv(A_SS) w_S (for a single row: Rifkin and
Lippert, "Notes on regularized least-squares", MIT 2007, section 4; a set of rows works
alike). So every phrasing is asked as if it were new, in one fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from worker.model.retrieval.index import NOT_A_ROW, Floats, Index, Ints, kernel

_BLOCK = 256  # rows of similarities in memory at once, at most
_CELLS = 2**24  # of them, at most: 64 MB

# How far a row's own entry is doubted: more smooths more. An answer text is not a question.
_NOISE, _ANSWER_NOISE = 0.2, 0.5


@dataclass(frozen=True)
class KernelRidgeFit:
    """The inverse of the regularised kernel matrix, and the head that it gives."""

    inverse: Floats  # (rows, rows)
    targets: Floats  # (rows, entries): 1 for a row's own entry, -1 for the others
    head: Floats  # (rows, entries)
    entry_of: Ints

    @classmethod
    def of(cls, index: Index) -> KernelRidgeFit:
        """Fit: cubic in the rows."""
        count = len(index.entry_of)
        matrix = np.empty((count, count), np.float32, order="F")
        for block in blocks(np.arange(count), count):
            matrix[:, block] = kernel(
                index.pairwise_similarities(block), index.parameters.sharpness
            ).T
        noise = np.where(np.arange(count) < index.phrasings, _NOISE, _ANSWER_NOISE)
        matrix[np.diag_indices(count)] += noise.astype(np.float32)
        factor = linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        half, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
        inverse = np.tril(half, -1)
        inverse += inverse.T + np.diag(np.diag(half))
        targets = np.full((count, index.entries), -1, np.float32)
        targets[np.arange(count), index.entry_of] = 1
        return cls(inverse, targets, inverse @ targets, index.entry_of)

    def without_row(self) -> Floats:
        """Return (rows, entries) of scores of each row if it were not known."""
        return self.targets - self.head / np.diag(self.inverse)[:, None]

    def without_entry(self) -> Floats:
        """Return (rows, entries) of scores of each row if no row of its entry were known."""
        scores = np.empty_like(self.targets)
        for entry in range(self.targets.shape[1]):
            own = np.flatnonzero(self.entry_of == entry)
            block = self.inverse[np.ix_(own, own)]
            scores[own] = self.targets[own] - np.linalg.solve(block, self.head[own])
            scores[own, entry] = NOT_A_ROW
        return scores


def blocks(rows: Ints, width: int) -> Iterator[Ints]:
    """Yield the rows, so many at a time that their similarities to `width` rows fit into memory."""
    size = min(_BLOCK, max(1, _CELLS // width))
    return (rows[start : start + size] for start in range(0, len(rows), size))
