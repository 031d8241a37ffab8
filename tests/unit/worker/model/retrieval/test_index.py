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
    largest,
    times,
)
from worker.model.retrieval.lexicon import learn
from worker.text.normalization import Script


def index(entry_of: list[int], head: Floats | None = None, **parameters: object) -> Index:
    texts = [f"phrasing {place}" for place in range(len(entry_of))]
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
    columns, found = largest(values.astype(np.float32), count)
    expected = np.sort(values.astype(np.float32), axis=1)[:, ::-1][:, :count]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.take_along_axis(values, columns, 1).astype(np.float32), found)
    assert all(len(set(line)) == len(line) for line in columns.tolist())


@pytest.mark.parametrize("text", ["phrasing 1", "退款多久到账"])
def test_a_text_resembles_itself_wholly(text: str):
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


def test_spelling_counts_as_much_as_the_script_says():
    lexical = {Script.SPACED: 0.25, Script.CJK: 0.9}
    known = index([0, 1], lexical=lexical)
    stranger = np.zeros((1, 2), np.float32)  # resembles nothing by meaning
    same = known.compare(["phrasing 1"], stranger)[0, 1]
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


def test_the_evidence_names_the_best_entries_and_their_nearest_phrasings():
    known = index([0, 0, 1, 2])
    found = known.rank(row(0.1, 0.4, 0.9, 0.3), row(0.2, 0.7, -0.5), ranks=3)
    assert found.entries.tolist() == [[1, 0, 2]]
    assert found.phrasings.tolist() == [[2, 1, 3]]
    np.testing.assert_allclose(found.scores, [[0.7, 0.2, -0.5]])
    np.testing.assert_allclose([found.nearest[0], found.own[0]], [0.9, 0.9])
    np.testing.assert_allclose(found.near, np.mean([0.1, 0.4, 0.9, 0.3]), rtol=1e-6)


def test_an_answer_text_is_a_row_but_no_phrasing():
    known = replace(index([0, 1, 0, 1]), phrasings=2)
    found = known.rank(row(0.1, 0.2, 0.9, 0.3), row(0.9, 0.1))
    assert found.phrasings.tolist() == [[0, 1]]
    np.testing.assert_allclose(found.own, 0.9)


def test_rows_that_are_left_out_have_no_say():
    known = index([0, 1, 1])
    similarities = row(NOT_A_ROW, 0.5, 0.4)
    found = known.rank(similarities, known.scores(similarities))
    assert found.entries[0, 0] == 1
    np.testing.assert_allclose(found.near, 0.45, rtol=1e-6)


def test_what_is_said_of_a_question_does_not_depend_on_those_beside_it():
    generator = np.random.default_rng(3)
    similarities = generator.random((9, 120), np.float32)
    known = index(list(range(40)) * 3)
    together = known.rank(similarities, known.scores(similarities))
    for place in range(9):
        one = similarities[place : place + 1]
        alone = known.rank(one, known.scores(one))
        assert alone.entries.tolist() == together.entries[[place]].tolist()
        assert alone.near[0] == together.near[place]


@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=80))
def test_no_bit_of_a_product_depends_on_the_other_rows(rows: list[int]):
    random = np.random.default_rng(7)
    questions, matrix = (
        random.standard_normal(shape).astype(np.float32) for shape in ((100, 61), (61, 53))
    )
    alone = np.concatenate([times(questions[[row]], matrix) for row in rows])
    assert (times(questions[rows], matrix) == alone).all()
    np.testing.assert_allclose(alone, questions[rows] @ matrix, rtol=1e-4, atol=1e-4)


def test_no_question_multiplies_to_nothing():
    nothing = times(np.zeros((0, 4), np.float32), np.zeros((4, 3), np.float32))
    assert nothing.shape == (0, 3)
