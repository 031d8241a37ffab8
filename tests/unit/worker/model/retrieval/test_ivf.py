from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from core.errors import BundleInvalid, ExtraMissing
from worker.model.retrieval.index import Floats
from worker.model.retrieval.ivf import IvfIndex

ROWS, DIMENSIONS = 3_000, 32


def around(points: Floats, count: int, noise: float, seed: int) -> Floats:
    """Embeddings that lie around points, as phrasings around what they ask."""
    generator = np.random.default_rng(seed)
    near = points[generator.integers(0, len(points), count)]
    near = near + noise * generator.standard_normal(near.shape)
    unit: Floats = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def points() -> Floats:
    generator = np.random.default_rng(1)
    return generator.standard_normal((60, DIMENSIONS)).astype(np.float32)


@pytest.fixture(scope="module")
def embeddings(points: Floats) -> Floats:
    return around(points, ROWS, noise=0.5, seed=2)


@pytest.fixture(scope="module")
def cells(embeddings: Floats) -> IvfIndex:
    return IvfIndex.of(embeddings)


def test_nearly_all_of_the_nearest_rows_are_found(
    cells: IvfIndex, embeddings: Floats, points: Floats
):
    asked = around(points, 100, noise=0.6, seed=3)
    nearest = np.argsort(-(asked @ embeddings.T), axis=1)[:, :10]
    found = [cells.nearest(one, 96) for one in asked]
    shares = [len(np.intersect1d(*pair)) / 10 for pair in zip(found, nearest, strict=True)]
    assert np.mean(shares) > 0.98
    assert all(len(set(rows)) == 96 for rows in map(np.ndarray.tolist, found))


def test_fewer_rows_than_asked_for_are_all_found(embeddings: Floats):
    few = IvfIndex.of(embeddings[:5])
    assert sorted(few.nearest(embeddings[0], 96)) == [0, 1, 2, 3, 4]


def test_the_same_embeddings_make_the_same_file(
    cells: IvfIndex, embeddings: Floats, tmp_path: Path
):
    cells.write(tmp_path / "first")
    IvfIndex.of(embeddings).write(tmp_path / "again")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()


def test_cells_are_read_as_they_were_written(cells: IvfIndex, embeddings: Floats, tmp_path: Path):
    cells.write(tmp_path / "cells.faiss")
    read = IvfIndex.read(tmp_path / "cells.faiss", ROWS, DIMENSIONS)
    for one in embeddings[:50]:
        assert read.nearest(one, 96).tolist() == cells.nearest(one, 96).tolist()


@pytest.mark.parametrize(("rows", "dimensions"), [(ROWS + 1, DIMENSIONS), (ROWS, DIMENSIONS * 2)])
def test_cells_of_other_rows_are_refused(
    cells: IvfIndex, tmp_path: Path, rows: int, dimensions: int
):
    cells.write(tmp_path / "cells.faiss")
    with pytest.raises(BundleInvalid, match="not cells of"):
        IvfIndex.read(tmp_path / "cells.faiss", rows, dimensions)


def test_a_file_that_holds_no_cells_is_refused(tmp_path: Path):
    (tmp_path / "cells.faiss").write_bytes(b"no cells at all")
    with pytest.raises(BundleInvalid, match=r"cells\.faiss holds no cells"):
        IvfIndex.read(tmp_path / "cells.faiss", ROWS, DIMENSIONS)


def test_without_faiss_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, embeddings: Floats, tmp_path: Path
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    told = r"faiss-cpu: pip install 'answermill\[large\]'"
    with pytest.raises(ExtraMissing, match=told):
        IvfIndex.of(embeddings)
    with pytest.raises(ExtraMissing, match=told):
        IvfIndex.read(tmp_path, ROWS, DIMENSIONS)
