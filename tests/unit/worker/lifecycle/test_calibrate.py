from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.calibrate import EVENS, HIGHEST, calibrate, with_hubness
from worker.model.lexical import learn
from worker.model.retrieval import Index, Retrieval
from worker.model.text import Script

WORDS = ["refund", "parcel", "invoice", "password", "voucher", "discount"]


def index(texts: list[str], entry_of: list[int]) -> Index:
    lexicon = learn(texts)
    generator = np.random.default_rng(5)
    embeddings = generator.normal(size=(len(texts), 8)).astype(np.float32)
    return Index.of(
        parameters=Retrieval(),
        entry_of=entry_of,
        embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        hubness=np.zeros((len(Script), len(texts)), np.float32),
        lexicon=lexicon,
        spellings=lexicon.vectors(texts),
    )


def test_hubness_is_the_mean_similarity_to_the_nearest_others():
    texts = [f"{word} {i}" for word in WORDS for i in range(5)]
    known = index(texts, [0] * len(texts))
    hubs = with_hubness(known, texts).hubness
    for kind in range(len(Script)):
        similarities = known.compare(
            known.embeddings, known.spellings, np.full(len(texts), kind, np.int64)
        )
        np.fill_diagonal(similarities, -np.inf)
        expected = np.sort(similarities, axis=1)[:, -15:].mean(axis=1)
        np.testing.assert_allclose(hubs[kind], expected, rtol=1e-4, atol=1e-6)


def test_a_single_phrasing_is_no_hub():
    assert with_hubness(index(["refund"], [0]), ["refund"]).hubness.tolist() == [[0], [0]]


def test_where_every_phrasing_finds_its_entry_the_threshold_is_high():
    texts = [f"{word} please {i}" for word in WORDS for i in range(10)]
    known = index(texts, [place // 10 for place in range(len(texts))])
    same = known.embeddings[np.asarray(known.entry_of)]  # one embedding for each entry
    known = Index.of(
        parameters=Retrieval(),
        entry_of=known.entry_of.tolist(),
        embeddings=same,
        hubness=known.hubness,
        lexicon=known.lexicon,
        spellings=known.spellings,
    )
    found = calibrate(with_hubness(known, texts), texts)
    assert found.accuracy == 1
    assert EVENS < found.threshold <= HIGHEST


def test_where_no_phrasing_finds_its_entry_the_threshold_is_even():
    texts = [f"{word} {i}" for i, word in enumerate(WORDS * 2)]
    found = calibrate(index(texts, [*range(6), *reversed(range(6))]), texts)
    assert found.accuracy is not None
    assert found.accuracy < 0.5
    assert found.threshold == EVENS


def test_entries_of_one_phrasing_tell_nothing():
    assert calibrate(index(WORDS, list(range(6))), WORDS).accuracy is None


@pytest.mark.parametrize("sample", [1, 7])
def test_a_sample_of_the_phrasings_suffices(monkeypatch: pytest.MonkeyPatch, sample: int):
    monkeypatch.setattr("worker.lifecycle.calibrate.SAMPLE", sample)
    texts = [f"{word} {i}" for word in WORDS for i in range(5)]
    found = calibrate(index(texts, [place // 5 for place in range(30)]), texts)
    assert found.accuracy is not None
    assert round(found.accuracy * sample, 2) == pytest.approx(
        round(found.accuracy * sample), abs=0.01
    )
