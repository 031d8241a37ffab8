"""The head: kernel ridge regression, and its scores for left-out rows.

The head predicts the entry of a row. The scores for a row that is not known, or whose whole
entry is not known, follow from one fit. With A the inverse of the regularized kernel matrix,
w = A Y the weights and S the left-out rows, they are Y_S - inv(A_SS) w_S. For a single row,
see Rifkin and Lippert, "Notes on regularized least-squares", MIT 2007, section 4. A set of
rows works alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from worker.model.retrieval.index import NOT_A_ROW, Floats, Index, Ints, kernel

_MAX_BLOCK = 256  # rows of similarities in memory at once
_MAX_BLOCK_VALUES = 2**24  # similarities in memory at once: 64 MB

# Variance of the noise in a row's label. Higher: smoother. An answer text is not a question.
_PHRASING_NOISE, _ANSWER_NOISE = 0.2, 0.5


@dataclass(frozen=True)
class KernelRidgeFit:
    """The inverse of the regularized kernel matrix, and the head."""

    inverse: Floats  # (rows, rows)
    targets: Floats  # (rows, entries): 1 for a row's own entry, -1 for the others
    head: Floats  # (rows, entries)
    entry_of: Ints

    @classmethod
    def of(cls, index: Index) -> KernelRidgeFit:
        """Fit the head. The time grows with the cube of the number of rows."""
        count = len(index.entry_of)
        factor = linalg.cholesky(
            _regularized_kernel(index), lower=True, overwrite_a=True, check_finite=False
        )
        half, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
        inverse = np.tril(half, -1)
        inverse += inverse.T + np.diag(np.diag(half))
        targets = np.full((count, index.entries), -1, np.float32)
        targets[np.arange(count), index.entry_of] = 1
        return cls(inverse, targets, inverse @ targets, index.entry_of)

    def without_row(self) -> Floats:
        """Return (rows, entries): the scores of each row without itself."""
        return self.targets - self.head / np.diag(self.inverse)[:, None]

    def without_entry(self) -> Floats:
        """Return (rows, entries): the scores of each row without its entry."""
        scores = np.empty_like(self.targets)
        for entry in range(self.targets.shape[1]):
            own = np.flatnonzero(self.entry_of == entry)
            block = self.inverse[np.ix_(own, own)]
            scores[own] = self.targets[own] - np.linalg.solve(block, self.head[own])
            scores[own, entry] = NOT_A_ROW
        return scores


def _regularized_kernel(index: Index) -> Floats:
    count = len(index.entry_of)
    matrix = np.empty((count, count), np.float32, order="F")
    for block in blocks(np.arange(count), count):
        similarities = index.pairwise_similarities(block)
        matrix[:, block] = kernel(similarities, index.parameters.sharpness).T
    noise = np.where(np.arange(count) < index.phrasings, _PHRASING_NOISE, _ANSWER_NOISE)
    matrix[np.diag_indices(count)] += noise.astype(np.float32)
    return matrix


def blocks(rows: Ints, width: int) -> Iterator[Ints]:
    """Yield blocks of rows whose similarities fit into memory.

    Args:
        rows: the rows.
        width: the number of rows that each is compared with.
    """
    size = min(_MAX_BLOCK, max(1, _MAX_BLOCK_VALUES // width))
    return (rows[start : start + size] for start in range(0, len(rows), size))
