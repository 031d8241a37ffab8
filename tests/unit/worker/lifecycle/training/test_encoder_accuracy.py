from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.training import encoder_accuracy
from worker.lifecycle.training.encoder_accuracy import (
    Accuracy,
    entry_means,
    hold_out,
    measure_accuracy,
    sample,
)


@pytest.mark.parametrize("sizes", [[5] * 20, [1, 2, 3, 200], [100, 100]])
def test_a_fifth_is_held_out_and_every_entry_keeps_a_phrasing(sizes: list[int]):
    entry_of = np.repeat(np.arange(len(sizes)), sizes)
    held_out = hold_out(entry_of, seed=7)
    assert held_out.mean() == pytest.approx(0.2, abs=0.02)
    assert set(entry_of[~held_out]) == set(range(len(sizes)))
    assert (held_out == hold_out(entry_of, seed=7)).all()
    assert (held_out != hold_out(entry_of, seed=8)).any()


@pytest.mark.parametrize("seed", range(10))
def test_the_smallest_knowledge_base_has_held_out_phrasings(seed: int):
    assert hold_out(np.repeat([0, 1], 4), seed).sum() in {1, 2}


def test_no_more_is_held_out_than_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoder_accuracy, "MOST_HELD_OUT", 50)
    entry_of = np.repeat(np.arange(200), 5)
    held_out = hold_out(entry_of, seed=7)
    assert held_out.sum() == pytest.approx(50, abs=15)
    assert len(set(entry_of[held_out])) > 30


def test_an_entrys_direction_is_that_of_its_phrasings():
    embeddings = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    means = entry_means(embeddings, np.array([0, 0, 1]))
    assert means == pytest.approx(np.array([[0.7071, 0.7071], [0, 1]]), abs=1e-4)


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_held_out_phrasings_are_answered_from_the_others():
    embeddings = circle([0, 2, 4, 90, 92, 94, 1, 93, 91])
    entry_of = np.array([0, 0, 0, 1, 1, 1, 0, 1, 0])  # the last one lies among the others
    held_out = np.arange(9) >= 6
    assert measure_accuracy(embeddings, entry_of, held_out) == Accuracy(2 / 3, 2 / 3)


def test_encoders_are_compared_by_the_mean_of_the_two():
    assert Accuracy(neighbours=0.5, regression=1.0).mean == 0.75


def test_many_phrasings_are_answered_in_blocks(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(7)
    entry_of = np.repeat(np.arange(3), 200)
    embeddings = circle(list(entry_of * 60 + random.normal(0, 25, 600)))
    held_out = hold_out(entry_of, seed=7)
    in_one_block = measure_accuracy(embeddings, entry_of, held_out)
    monkeypatch.setattr(encoder_accuracy, "_BLOCK", 7)
    assert measure_accuracy(embeddings, entry_of, held_out) == in_one_block
    assert 0.5 < in_one_block.neighbours < 1


def test_a_sample_has_all_of_few_phrasings_and_some_of_many(monkeypatch: pytest.MonkeyPatch):
    entry_of = np.repeat(np.arange(20), 50)
    held_out = hold_out(entry_of, seed=7)
    assert set(sample(held_out)) == set(range(1_000))
    monkeypatch.setattr(encoder_accuracy, "MOST_KNOWN", 100)
    chosen = sample(held_out)
    assert set(chosen) > set(np.flatnonzero(held_out))
    counts = np.bincount(entry_of[chosen[~held_out[chosen]]], minlength=20)
    assert (counts.sum(), counts.min() >= 4) == (100, True)
