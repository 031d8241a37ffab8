"""The graph of nearest embeddings, for knowledge bases too large to compare with every row.

A hierarchical navigable small world (Malkov and Yashunin, "Efficient and robust approximate
nearest neighbor search", 2016) by faiss, over embeddings in 8 bits a dimension. It finds nearly
all of the nearest rows (docs/log.md has how many), and is only ever asked for candidates: who
asks compares with those exactly. One embedding is looked up at a time, by one thread, so what
is found does not depend on what else is asked.

faiss is imported when a graph is made or read, never before.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from db.errors import BundleInvalid, ExtraMissing

if TYPE_CHECKING:
    from worker.model.retrieval import Floats, Ints

FILE = "graph.faiss"

_LINKS = 16  # of a row; more: finds more, larger, slower to make
_EFFORT_MAKING = 80  # rows looked at for each that is added; more: finds more, slower to make
_EFFORT = 256  # rows looked at for a question; more: finds more, slower


@dataclass(frozen=True)
class Graph:
    """A graph of rows, ready to be asked."""

    index: Any  # faiss's stubs know neither its constructor nor its parameters

    @classmethod
    def of(cls, embeddings: Floats) -> Graph:
        """Make one from (rows, dimensions), rows of length 1; the same from the same.

        Raises:
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        kind = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexHNSWSQ(embeddings.shape[1], kind, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EFFORT_MAKING
        with threadpool_limits(1, user_api="openmp"):  # several link rows as it comes
            index.train(embeddings)
            index.add(embeddings)
        return cls._ready(index)

    @classmethod
    def read(cls, path: Path, rows: int, dimensions: int) -> Graph:
        """Read a file that was verified.

        Raises:
            BundleInvalid: it is no graph of so many rows.
            ExtraMissing: faiss is not installed.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise BundleInvalid(str(path.parent), f"{path.name} is not a graph") from error
        found = type(index).__name__, index.ntotal, index.d
        if found != (faiss.IndexHNSWSQ.__name__, rows, dimensions):
            problem = f"{path.name} is a {found[0]} of {found[1]} rows, not a graph of {rows}"
            raise BundleInvalid(str(path.parent), problem)
        return cls._ready(index)

    @classmethod
    def _ready(cls, index: Any) -> Graph:  # noqa: ANN401 - see above
        index.hnsw.efSearch = _EFFORT
        return cls(index)

    def write(self, path: Path) -> None:
        """Write it, for `read`."""
        _faiss().write_index(self.index, str(path))

    def nearest(self, embedding: Floats, count: int) -> Ints:
        """Return up to so many rows that are nearest to an embedding: (found,), nearest first."""
        _, rows = self.index.search(embedding[None], count)
        found: Ints = rows[0][rows[0] >= 0].astype(np.int64)
        return found


def check_installed() -> None:
    """Check that graphs can be made and read.

    Raises:
        ExtraMissing: faiss is not installed.
    """
    if importlib.util.find_spec("faiss") is None:
        raise ExtraMissing("faiss-cpu", "large")


def _faiss() -> Any:  # noqa: ANN401 - see `Graph`
    check_installed()
    import faiss

    return faiss
