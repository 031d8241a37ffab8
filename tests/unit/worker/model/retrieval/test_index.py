from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.retrieval.index import (
    NOT_A_ROW,
    Floats,
    Index,
    RetrievalParameters,
    kernel,
    matmul,
    top_k,
)
from worker.model.retrieval.lexicon import learn
from worker.text.normalization import Script


def index(entry_of: list[int], head: Floats | None = None, **parameters: object) -> Index:
    texts = [f"phrasing {i}" for i in range(len(entry_of))]
    return Index.of(
        parameters=replace(RetrievalParameters(), **parameters),
        entry_of=entry_of,
        texts=texts,
        phrasings=len(entry_of),
        embeddings=np.eye(len(entry_of), dtype=np.float32),
        lexicon=learn(texts),
        head=head,
    )


def row(*similarities: float) -> Floats:
    return np.array([similarities], np.float32)


@given(
    width=st.integers(1, 400),
    count=st.integers(1, 20),
    seed=st.integers(0, 999),
    levels=st.booleans(),
)
def test_the_largest_values_are_those_that_sorting_finds(
    width: int, count: int, seed: int, *, levels: bool
):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, (3, width)) if levels else generator.random((3, width))
    columns, top = top_k(values.astype(np.float32), count)
    expected = np.sort(values.astype(np.float32), axis=1)[:, ::-1][:, :count]
    np.testing.assert_array_equal(top, expected)
    np.testing.assert_array_equal(np.take_along_axis(values, columns, 1).astype(np.float32), top)
    assert all(len(set(row)) == len(row) for row in columns.tolist())


@pytest.mark.parametrize("text", ["phrasing 1", "退款多久到账"])
def test_the_similarity_of_a_text_to_itself_is_1(text: str):
    lexicon = learn([text])
    embeddings = np.array([[0.6, 0.8]], np.float32)
    known = Index.of(
        parameters=RetrievalParameters(),
        entry_of=[0],
        texts=[text],
        phrasings=1,
        embeddings=embeddings,
        lexicon=lexicon,
    )
    np.testing.assert_allclose(known.compare([text], embeddings), 1, atol=1e-6)
    np.testing.assert_allclose(known.pairwise_similarities(np.array([0])), 1, atol=1e-6)


def test_the_weight_of_spelling_is_that_of_the_script():
    lexical = {Script.SPACED: 0.25, Script.CJK: 0.9}
    known = index([0, 1], lexical=lexical)
    meaningless = np.zeros((1, 2), np.float32)
    same = known.compare(["phrasing 1"], meaningless)[0, 1]
    np.testing.assert_allclose(same, 0.25, atol=1e-6)


def test_the_head_weighs_every_row_by_its_kernel():
    head = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
    known = index([0, 1], head, sharpness=3.0)
    similarities = row(0.9, 0.2)
    weights = np.exp(3 * (similarities - 1))
    np.testing.assert_allclose(known.scores(similarities), weights @ head, rtol=1e-6)
    assert kernel(row(NOT_A_ROW), 3.0)[0, 0] == 0


def test_without_a_head_the_nearest_rows_vote():
    known = index([0, 1, 1, 1])
    assert known.scores(row(0.9, 0.3, 0.3, 0.3))[0, 0] > 0.99
    several = known.scores(row(0.80, 0.78, 0.78, 0.79))
    assert several[0, 1] > several[0, 0]
    np.testing.assert_allclose(several.sum(), 1, rtol=1e-6)


def test_only_the_nearest_vote():
    similarities = row(0.9, *[0.88] * 30)
    assert index([0, *[1] * 30], neighbours=1).scores(similarities)[0].tolist() == [1, 0]
    assert index([0, *[1] * 30], neighbours=15).scores(similarities)[0].argmax() == 1


def test_a_result_names_the_best_entries_and_their_nearest_phrasings():
    known = index([0, 0, 1, 2])
    result = known.rank(row(0.1, 0.4, 0.9, 0.3), row(0.2, 0.7, -0.5), ranks=3)
    assert result.entries.tolist() == [[1, 0, 2]]
    assert result.phrasings.tolist() == [[2, 1, 3]]
    np.testing.assert_allclose(result.scores, [[0.7, 0.2, -0.5]])
    np.testing.assert_allclose([result.nearest[0], result.best_entry[0]], [0.9, 0.9])
    np.testing.assert_allclose(result.mean_nearest, np.mean([0.1, 0.4, 0.9, 0.3]), rtol=1e-6)


def test_an_answer_text_is_a_row_but_no_phrasing():
    known = replace(index([0, 1, 0, 1]), phrasings=2)
    result = known.rank(row(0.1, 0.2, 0.9, 0.3), row(0.9, 0.1))
    assert result.phrasings.tolist() == [[0, 1]]
    np.testing.assert_allclose(result.best_entry, 0.9)


def test_rows_that_are_left_out_do_not_count():
    known = index([0, 1, 1])
    similarities = row(NOT_A_ROW, 0.5, 0.4)
    result = known.rank(similarities, known.scores(similarities))
    assert result.entries[0, 0] == 1
    np.testing.assert_allclose(result.mean_nearest, 0.45, rtol=1e-6)


def test_a_result_does_not_depend_on_the_other_questions():
    generator = np.random.default_rng(3)
    similarities = generator.random((9, 120), np.float32)
    known = index(list(range(40)) * 3)
    together = known.rank(similarities, known.scores(similarities))
    for i in range(9):
        single = similarities[[i]]
        alone = known.rank(single, known.scores(single))
        assert alone.entries.tolist() == together.entries[[i]].tolist()
        assert alone.mean_nearest[0] == together.mean_nearest[i]


@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=80))
def test_no_bit_of_a_product_depends_on_the_other_rows(rows: list[int]):
    random = np.random.default_rng(7)
    questions, matrix = (
        random.standard_normal(shape).astype(np.float32) for shape in ((100, 61), (61, 53))
    )
    alone = np.concatenate([matmul(questions[[row]], matrix) for row in rows])
    assert (matmul(questions[rows], matrix) == alone).all()
    np.testing.assert_allclose(alone, questions[rows] @ matrix, rtol=1e-4, atol=1e-4)


def test_the_product_of_no_questions_is_empty():
    product = matmul(np.zeros((0, 4), np.float32), np.zeros((4, 3), np.float32))
    assert product.shape == (0, 3)
