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
    """Return embeddings around points, as phrasings lie around an entry."""
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
def ivf(embeddings: Floats) -> IvfIndex:
    return IvfIndex.of(embeddings)


def test_nearly_all_of_the_nearest_rows_are_found(
    ivf: IvfIndex, embeddings: Floats, points: Floats
):
    questions = around(points, 100, noise=0.6, seed=3)
    nearest = np.argsort(-(questions @ embeddings.T), axis=1)[:, :10]
    results = [ivf.nearest(question, 96) for question in questions]
    shares = [len(np.intersect1d(*pair)) / 10 for pair in zip(results, nearest, strict=True)]
    assert np.mean(shares) > 0.98
    assert all(len(set(rows)) == 96 for rows in map(np.ndarray.tolist, results))


def test_fewer_rows_than_requested_are_all_found(embeddings: Floats):
    few = IvfIndex.of(embeddings[:5])
    assert sorted(few.nearest(embeddings[0], 96)) == [0, 1, 2, 3, 4]


def test_the_same_embeddings_make_the_same_file(ivf: IvfIndex, embeddings: Floats, tmp_path: Path):
    ivf.write(tmp_path / "first")
    IvfIndex.of(embeddings).write(tmp_path / "again")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()


def test_an_index_is_read_as_it_was_written(ivf: IvfIndex, embeddings: Floats, tmp_path: Path):
    ivf.write(tmp_path / "cells.faiss")
    read = IvfIndex.read(tmp_path / "cells.faiss", ROWS, DIMENSIONS)
    for embedding in embeddings[:50]:
        assert read.nearest(embedding, 96).tolist() == ivf.nearest(embedding, 96).tolist()


@pytest.mark.parametrize(("rows", "dimensions"), [(ROWS + 1, DIMENSIONS), (ROWS, DIMENSIONS * 2)])
def test_an_index_of_other_rows_is_refused(
    ivf: IvfIndex, tmp_path: Path, rows: int, dimensions: int
):
    ivf.write(tmp_path / "cells.faiss")
    with pytest.raises(
        BundleInvalid, match=f"not an IndexIVFScalarQuantizer of {rows} and {dimensions}"
    ):
        IvfIndex.read(tmp_path / "cells.faiss", rows, dimensions)


def test_a_file_that_is_not_an_index_is_refused(tmp_path: Path):
    (tmp_path / "cells.faiss").write_bytes(b"not an index")
    with pytest.raises(BundleInvalid, match=r"cells\.faiss is not an index of faiss"):
        IvfIndex.read(tmp_path / "cells.faiss", ROWS, DIMENSIONS)


def test_without_faiss_the_command_that_installs_it_is_reported(
    monkeypatch: pytest.MonkeyPatch, embeddings: Floats, tmp_path: Path
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = r"faiss-cpu: pip install 'answermill\[large\]'"
    with pytest.raises(ExtraMissing, match=message):
        IvfIndex.of(embeddings)
    with pytest.raises(ExtraMissing, match=message):
        IvfIndex.read(tmp_path, ROWS, DIMENSIONS)
