from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.build.linear_svm import CrossValidation, groups_of, parts_of, predict
from worker.model.cascade import ngrams

WORDS = ["refund", "parcel", "invoice", "password", "voucher", "discount"]
TEXTS = [f"{word} please {i}" for word in WORDS for i in range(8)]
ENTRY_OF = np.repeat(np.arange(len(WORDS)), 8)
EVERY = np.arange(len(TEXTS))


@pytest.fixture
def validation() -> CrossValidation:
    return CrossValidation(ngrams.learn(TEXTS), TEXTS, ENTRY_OF)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The phrasings of each fit, in order."""
    fits: list[np.ndarray] = []
    fit = CrossValidation.fit

    def recording(self: CrossValidation, chosen: np.ndarray):
        fits.append(chosen)
        return fit(self, chosen)

    monkeypatch.setattr(CrossValidation, "fit", recording)
    return fits


def test_an_entry_is_known_by_its_words(validation: CrossValidation):
    linear = validation.fit(np.ones(len(TEXTS), bool))
    predictions = predict(linear, ["my voucher", "a password"], [frozenset({4}), frozenset({3, 0})])
    assert predictions.right.all()


def test_two_entries_are_separated():
    validation = CrossValidation(ngrams.learn(TEXTS[:16]), TEXTS[:16], ENTRY_OF[:16])
    linear = validation.fit(np.ones(16, bool))
    assert linear.classify(["refund", "parcel"]).entries[:, 0].tolist() == [0, 1]


def test_each_phrasing_is_left_out_once_and_its_entry_is_in_every_part():
    parts = parts_of(ENTRY_OF)
    for entry in range(len(WORDS)):
        assert set(parts[entry == ENTRY_OF].tolist()) == set(range(5))


def test_no_phrasing_is_asked_of_a_fit_that_knows_it(
    validation: CrossValidation, fits: list[np.ndarray]
):
    parts = parts_of(ENTRY_OF)
    known = validation.predict_left_out(EVERY, parts, np.ones(len(TEXTS), bool), in_scope=True)
    assert known.right.mean() > 0.9
    for part, chosen in enumerate(fits):
        np.testing.assert_array_equal(chosen, parts != part)


def test_no_entry_that_must_be_handed_off_is_known(
    validation: CrossValidation, fits: list[np.ndarray]
):
    groups = groups_of(ENTRY_OF)
    near = validation.predict_left_out(EVERY, groups, np.ones(len(TEXTS), bool), in_scope=False)
    assert not near.right.any()
    assert near.features[:, 0].max() < 0.5
    for group, chosen in enumerate(fits):
        assert not set(ENTRY_OF[chosen]) & set(ENTRY_OF[groups == group])


def test_what_a_trial_held_out_is_never_fitted_on(
    validation: CrossValidation, fits: list[np.ndarray]
):
    held_out = EVERY % 4 == 0
    rows = np.flatnonzero(held_out)
    validation.predict_left_out(rows, held_out.astype(np.int64), ~held_out, in_scope=True)
    (chosen,) = fits
    np.testing.assert_array_equal(chosen, ~held_out)


def test_no_question_gives_no_prediction(validation: CrossValidation):
    assert len(predict(validation.fit(np.ones(len(TEXTS), bool)), [], []).right) == 0
