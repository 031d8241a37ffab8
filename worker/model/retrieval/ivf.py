"""Finding the nearest embeddings in cells, where there are too many rows to compare with each.

Embeddings are divided among cells, each around a centre that k-means has found, and kept in 8
bits a dimension; a question looks into the cells whose centres are nearest (an inverted file,
by faiss). That finds nearly all of the nearest rows (docs/log.md has how many), and is only
ever asked for candidates: who asks compares with those exactly. One embedding is looked up at
a time, by one thread, so what is found does not depend on what else is asked.

faiss is imported when cells are made or read, never before.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from core.errors import BundleInvalid, ExtraMissing

if TYPE_CHECKING:
    from worker.model.retrieval.index import Floats, Ints

FILE = "cells.faiss"

_ROUNDS = 8  # of k-means; more: rounder cells, slower to make
_LEARNT_FROM = 64  # rows a cell, at most, that k-means sees; more: the same
_FEWEST = 39  # rows a cell, on average; fewer make faiss warn of too many cells
_LOOKED_INTO = 64  # cells; more: finds more, slower


@dataclass(frozen=True)
class IvfIndex:
    """Rows in cells, ready to be asked."""

    index: Any  # faiss's stubs know neither its constructor nor its parameters

    @classmethod
    def of(cls, embeddings: Floats) -> IvfIndex:
        """Make one from (rows, dimensions), rows of length 1; the same from the same.

        Raises:
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        rows, dimensions = embeddings.shape
        index = faiss.index_factory(
            dimensions, f"IVF{_how_many(rows)},SQ8", faiss.METRIC_INNER_PRODUCT
        )
        index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _LEARNT_FROM
        with threadpool_limits(1):  # several add up in orders of their own
            index.train(embeddings)
            index.add(embeddings)
        return cls._ready(index)

    @classmethod
    def read(cls, path: Path, rows: int, dimensions: int) -> IvfIndex:
        """Read a file that was verified.

        Raises:
            BundleInvalid: it holds no cells of so many rows.
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise BundleInvalid(str(path.parent), f"{path.name} holds no cells") from error
        found = type(index).__name__, index.ntotal, index.d
        if found != (faiss.IndexIVFScalarQuantizer.__name__, rows, dimensions):
            problem = f"{path.name} is a {found[0]} of {found[1]} rows, not cells of {rows}"
            raise BundleInvalid(str(path.parent), problem)
        return cls._ready(index)

    @classmethod
    def _ready(cls, index: Any) -> IvfIndex:  # noqa: ANN401 - see above
        index.nprobe = _LOOKED_INTO
        return cls(index)

    def write(self, path: Path) -> None:
        """Write it, for `read`."""
        _faiss().write_index(self.index, str(path))

    def nearest(self, embedding: Floats, count: int) -> Ints:
        """Return up to so many rows that are nearest to an embedding: (found,), nearest first."""
        _, rows = self.index.search(embedding[None], count)
        found: Ints = rows[0][rows[0] >= 0].astype(np.int64)
        return found


def _how_many(rows: int) -> int:
    """Return how many cells: looking into one then costs about as much as finding it."""
    return max(1, min(int(4 * rows**0.5), rows // _FEWEST))


def check_installed() -> None:
    """Check that cells can be made and read.

    Raises:
        ExtraMissing: faiss is not installed.
    """
    if importlib.util.find_spec("faiss") is None:
        raise ExtraMissing("faiss-cpu", "large")


def _faiss() -> Any:  # noqa: ANN401 - see `IvfIndex`
    check_installed()
    import faiss

    return faiss
