"""Approximate nearest neighbors in an inverted file (IVF) of faiss.

It is for large knowledge bases. k-means divides the embeddings among cells, which hold them in
8 bits a dimension. A search looks into the cells with the nearest centroids. It finds nearly
all of the nearest rows (docs/log.md states how many), and returns candidates, which the caller
compares exactly. Each embedding is searched alone and by one thread, so its result does not
depend on the others.

faiss is imported only when an index is built, read or written.
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

_ITERATIONS = 8  # of k-means; higher: rounder cells, slower build
_TRAINING_ROWS = 64  # a cell, at most; higher: a slower build, no better result
_ROWS_PER_CELL = 39  # at least, on average; lower: faiss warns of too many cells
_PROBES = 64  # cells that a search looks into; higher: finds more, slower


@dataclass(frozen=True)
class IvfIndex:
    """The rows in an inverted file."""

    index: Any  # faiss's stubs lack its constructor and its parameters

    @classmethod
    def of(cls, embeddings: Floats) -> IvfIndex:
        """Build a deterministic index of (rows, dimensions), rows of length 1.

        Raises:
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        rows, dimensions = embeddings.shape
        index = faiss.index_factory(
            dimensions, f"IVF{_cell_count(rows)},SQ8", faiss.METRIC_INNER_PRODUCT
        )
        index.cp.niter, index.cp.max_points_per_centroid = _ITERATIONS, _TRAINING_ROWS
        with threadpool_limits(1):  # several threads would sum in varying orders
            index.train(embeddings)
            index.add(embeddings)
        return cls._configured(index)

    @classmethod
    def read(cls, path: Path, rows: int, dimensions: int) -> IvfIndex:
        """Read a verified file.

        Raises:
            BundleInvalid: it is not an inverted file of that many rows.
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            problem = f"{path.name} is not an index of faiss"
            raise BundleInvalid(str(path.parent), problem) from error
        kind = type(index).__name__
        expected = faiss.IndexIVFScalarQuantizer.__name__
        if (kind, index.ntotal, index.d) != (expected, rows, dimensions):
            problem = (
                f"{path.name} is an {kind} of {index.ntotal} rows and {index.d} dimensions,"
                f" not an {expected} of {rows} and {dimensions}"
            )
            raise BundleInvalid(str(path.parent), problem)
        return cls._configured(index)

    @classmethod
    def _configured(cls, index: Any) -> IvfIndex:  # noqa: ANN401 - see `index`
        index.nprobe = _PROBES
        return cls(index)

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        _faiss().write_index(self.index, str(path))

    def nearest(self, embedding: Floats, count: int) -> Ints:
        """Return at most `count` rows near an embedding, nearest first."""
        _, rows = self.index.search(embedding[None], count)
        nearest: Ints = rows[0][rows[0] >= 0].astype(np.int64)
        return nearest


def _cell_count(rows: int) -> int:
    """Return the number of cells, to search and read cells at equal cost."""
    return max(1, min(int(4 * rows**0.5), rows // _ROWS_PER_CELL))


def check_installed() -> None:
    """Check that faiss is installed.

    Raises:
        ExtraMissing: it is not.
    """
    if importlib.util.find_spec("faiss") is None:
        raise ExtraMissing("faiss-cpu", "large")


def _faiss() -> Any:  # noqa: ANN401 - see `IvfIndex.index`
    check_installed()
    import faiss

    return faiss
