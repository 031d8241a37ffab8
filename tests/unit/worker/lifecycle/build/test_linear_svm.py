from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.build.linear_svm import CrossValidation, ask, groups_of, parts_of
from worker.model.cascade import ngrams

WORDS = ["refund", "parcel", "invoice", "password", "voucher", "discount"]
TEXTS = [f"{word} please {i}" for word in WORDS for i in range(8)]
ENTRY_OF = np.repeat(np.arange(len(WORDS)), 8)
EVERY = np.arange(len(TEXTS))


@pytest.fixture
def bench() -> CrossValidation:
    return CrossValidation(ngrams.learn(TEXTS), TEXTS, ENTRY_OF)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What was fitted on, and who was asked of it, in turns."""
    told: list[np.ndarray] = []
    fit = CrossValidation.fit

    def listening(self: CrossValidation, chosen: np.ndarray):
        told.append(chosen)
        return fit(self, chosen)

    monkeypatch.setattr(CrossValidation, "fit", listening)
    return told


def test_an_entry_is_known_by_its_words(bench: CrossValidation):
    linear = bench.fit(np.ones(len(TEXTS), bool))
    found = ask(linear, ["my voucher", "a password"], [frozenset({4}), frozenset({3, 0})])
    assert found.right.all()


def test_of_two_entries_each_is_found():
    bench = CrossValidation(ngrams.learn(TEXTS[:16]), TEXTS[:16], ENTRY_OF[:16])
    linear = bench.fit(np.ones(16, bool))
    assert linear.classify(["refund", "parcel"]).entries[:, 0].tolist() == [0, 1]


def test_each_phrasing_is_left_out_once_and_its_entry_is_in_every_part():
    parts = parts_of(ENTRY_OF)
    for entry in range(len(WORDS)):
        assert set(parts[entry == ENTRY_OF].tolist()) == set(range(5))


def test_no_phrasing_is_asked_of_a_fit_that_knows_it(
    bench: CrossValidation, fits: list[np.ndarray]
):
    parts = parts_of(ENTRY_OF)
    known = bench.left_out(EVERY, parts, np.ones(len(TEXTS), bool), in_scope=True)
    assert known.right.mean() > 0.9
    for part, chosen in enumerate(fits):
        np.testing.assert_array_equal(chosen, parts != part)


def test_no_entry_that_must_be_handed_off_is_known(bench: CrossValidation, fits: list[np.ndarray]):
    groups = groups_of(ENTRY_OF)
    missing = bench.left_out(EVERY, groups, np.ones(len(TEXTS), bool), in_scope=False)
    assert not missing.right.any()
    assert missing.features[:, 0].max() < 0.5
    for group, chosen in enumerate(fits):
        assert not set(ENTRY_OF[chosen]) & set(ENTRY_OF[groups == group])


def test_what_a_trial_held_out_is_learnt_from_nowhere(
    bench: CrossValidation, fits: list[np.ndarray]
):
    held_out = EVERY % 4 == 0
    rows = np.flatnonzero(held_out)
    bench.left_out(rows, held_out.astype(np.int64), ~held_out, in_scope=True)
    (chosen,) = fits
    np.testing.assert_array_equal(chosen, ~held_out)


def test_asking_nothing_says_nothing(bench: CrossValidation):
    assert len(ask(bench.fit(np.ones(len(TEXTS), bool)), [], []).right) == 0
