from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.model.lexical import learn
from worker.model.retrieval import Floats, Index, Retrieval, _largest, scripts
from worker.model.text import Script


def index(entry_of: list[int], hubness: list[float] | None = None, **parameters: float) -> Index:
    texts = [f"phrasing {place}" for place in range(len(entry_of))]
    lexicon = learn(texts)
    flat = np.asarray(hubness or [0.0] * len(entry_of), np.float32)
    return Index.of(
        parameters=replace(Retrieval(), **parameters),
        entry_of=entry_of,
        embeddings=np.eye(len(entry_of), dtype=np.float32),
        hubness=np.stack([flat for _ in Script]),
        lexicon=lexicon,
        spellings=lexicon.vectors(texts),
    )


def row(*similarities: float) -> Floats:
    return np.array([similarities], np.float32)


SPACED = np.zeros(1, np.int64)


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
    columns, found = _largest(values.astype(np.float32), count)
    expected = np.sort(values.astype(np.float32), axis=1)[:, ::-1][:, :count]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.take_along_axis(values, columns, 1).astype(np.float32), found)
    assert all(len(set(line)) == len(line) for line in columns.tolist())


def test_the_nearest_phrasing_wins_when_it_is_far_ahead():
    nearest = index([0, 1, 1]).vote(row(0.9, 0.3, 0.3), SPACED)
    assert nearest.entry.tolist() == [0]
    assert nearest.phrasing.tolist() == [0]
    assert nearest.similarity.tolist() == [np.float32(0.9)]
    assert nearest.share[0] > 0.99


def test_several_near_phrasings_of_an_entry_beat_one_that_is_hardly_nearer():
    nearest = index([0, 1, 1, 1]).vote(row(0.80, 0.78, 0.78, 0.79), SPACED)
    assert nearest.entry.tolist() == [1]
    assert nearest.phrasing.tolist() == [3]


def test_what_resembles_everything_is_set_back():
    similarities = row(0.7, 0.65)
    assert index([0, 1]).vote(similarities, SPACED).entry.tolist() == [0]
    assert index([0, 1], hubness=[0.9, 0.1]).vote(similarities, SPACED).entry.tolist() == [1]


def test_only_the_nearest_vote():
    similarities = row(0.9, *[0.88] * 30)
    assert index([0, *[1] * 30], neighbours=1).vote(similarities, SPACED).entry.tolist() == [0]
    assert index([0, *[1] * 30], neighbours=15).vote(similarities, SPACED).entry.tolist() == [1]


def test_shares_are_shares():
    nearest = index([0, 1, 2]).vote(row(0.5, 0.5, 0.5), SPACED)
    np.testing.assert_allclose(nearest.share, 1 / 3, atol=1e-6)
    assert nearest.entry.tolist() == [0]  # of equals, the first in the knowledge base


def test_spelling_counts_more_for_chinese():
    known = index([0, 1])
    embeddings = np.zeros((2, 2), np.float32)
    vectors = known.lexicon.vectors(["phrasing 1", "phrasing 1"])
    english, chinese = known.compare(embeddings, vectors, scripts(["phrasing", "你好"]))
    np.testing.assert_allclose(chinese / english, 0.9 / 0.2, rtol=1e-5)


def test_a_vote_does_not_depend_on_the_questions_beside_it():
    generator = np.random.default_rng(3)
    similarities = generator.random((9, 120), np.float32)
    known = index(list(range(40)) * 3)
    together = known.vote(similarities, np.zeros(9, np.int64))
    for place in range(9):
        alone = known.vote(similarities[place : place + 1], SPACED)
        assert alone.entry[0] == together.entry[place]
        assert alone.share[0] == together.share[place]
