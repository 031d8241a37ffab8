from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from worker.model.retrieval.index import Floats, Index, Ints, RetrievalParameters, RetrievalResult
from worker.model.retrieval.ivf import IvfIndex
from worker.model.retrieval.lexicon import learn
from worker.model.retrieval.shortlist import Shortlist

ENTRIES, EACH, DIMENSIONS = 150, 20, 24


def unit(vectors: Floats) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def shortlist(entry_of: Ints, texts: list[str], phrasings: int, embeddings: Floats) -> Shortlist:
    index = Index.of(
        parameters=RetrievalParameters(),
        entry_of=entry_of,
        texts=texts,
        phrasings=phrasings,
        embeddings=embeddings,
        lexicon=learn(texts[:phrasings]),
    )
    return Shortlist(index, IvfIndex.of(embeddings))


class World:
    """Entries whose phrasings share a point and a word of their own."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(4)
        self.points = self.random.standard_normal((ENTRIES, DIMENSIONS))
        letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
        self.words = ["".join(self.random.choice(letters, 7)) for _ in range(ENTRIES)]
        phrasings = np.repeat(np.arange(ENTRIES), EACH)
        entry_of = np.r_[phrasings, np.arange(ENTRIES)]
        texts = [f"about {self.words[entry]} {i}" for i, entry in enumerate(entry_of)]
        self.known = shortlist(entry_of, texts, len(phrasings), self.around(entry_of))

    def around(self, entry_of: Ints, noise: float = 0.6) -> Floats:
        near = self.points[entry_of]
        return unit(near + noise * self.random.standard_normal(near.shape))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def questions(world: World) -> tuple[list[str], Floats]:
    entry_of = world.random.integers(0, ENTRIES, 200)
    return [f"is it {world.words[entry]}" for entry in entry_of], world.around(entry_of, 0.9)


def test_a_shortlist_ranks_as_all_rows_do(world: World, questions: tuple[list[str], Floats]):
    short, whole = world.known.search(*questions), world.known.index.search(*questions)
    assert (short.entries[:, 0] == whole.entries[:, 0]).mean() > 0.98
    assert (short.phrasings[:, 0] == whole.phrasings[:, 0]).mean() > 0.98
    for name in ("nearest", "mean_nearest", "best_entry"):
        gaps = np.abs(getattr(short, name) - getattr(whole, name))
        assert (gaps < 1e-5).mean() > 0.95, name
    assert (np.abs(short.scores[:, 0] - whole.scores[:, 0]) < 1e-4).mean() > 0.95


def test_no_bit_of_a_result_depends_on_the_other_questions(
    world: World, questions: tuple[list[str], Floats]
):
    texts, embeddings = questions
    together = world.known.search(texts, embeddings)
    for i in range(0, 200, 17):
        alone = world.known.search([texts[i]], embeddings[[i]])
        for field in fields(RetrievalResult):
            single, every = getattr(alone, field.name), getattr(together, field.name)
            np.testing.assert_array_equal(single[0], every[i])


def test_every_phrasing_in_a_result_is_of_its_entry(
    world: World, questions: tuple[list[str], Floats]
):
    result = world.known.search(*questions, ranks=5)
    assert result.entries.shape == result.phrasings.shape == (200, 5)
    assert (result.phrasings < world.known.index.phrasings).all()
    assert (world.known.index.entry_of[result.phrasings] == result.entries).all()
    assert all(len(set(entries)) == 5 for entries in result.entries.tolist())


def test_rows_that_only_spelling_finds_are_on_the_shortlist():
    random = np.random.default_rng(8)
    texts = [f"退款单号{i:04d}" for i in range(2_000)]
    known = shortlist(np.arange(2_000) % 50, texts, 2_000, unit(random.normal(size=(2_000, 8))))
    strange = unit(random.normal(size=(20, 8)))
    result = known.search([f"单号{i:04d}的退款" for i in range(700, 720)], strange)
    assert result.phrasings[:, 0].tolist() == list(range(700, 720))


def test_an_answer_text_brings_a_phrasing_of_its_entry():
    embeddings = unit(np.eye(4, dtype=np.float32)[[0, 1, 2, 3]])
    texts = ["refund please", "parcel late", "money back", "where it is"]
    known = shortlist(np.array([0, 1, 0, 1]), texts, 2, embeddings)
    result = known.search(["nothing alike"], embeddings[[3]])
    assert result.entries.tolist() == [[1, 0]]
    assert result.phrasings.tolist() == [[1, 0]]


def test_one_entry_has_no_runner_up():
    embeddings = unit(np.ones((3, 4)))
    known = shortlist(np.zeros(3, np.int64), ["a b", "a c", "an answer"], 2, embeddings)
    assert known.search(["a b"], embeddings[:1]).entries.tolist() == [[0]]
