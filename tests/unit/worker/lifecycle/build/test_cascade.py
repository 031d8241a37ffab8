from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worker.lifecycle.build import cascade
from worker.lifecycle.build.calibrate import CalibrationSet, calibrate
from worker.lifecycle.build.cascade import CascadeInputs, CascadeResult, make_cascade
from worker.lifecycle.build.fit import LabelledPredictions, Rows, fit, predict_as_new
from worker.model.retrieval.lexicon import learn

WORDS = ["refund", "parcel", "invoice", "password", "voucher", "discount", "address", "newsletter"]
FAR = [f"{word} {n}" for word in ("weather", "football", "recipe") for n in range(10)]
EACH = 24


def exam(noise: float, *, spelt_alike: bool = False) -> CascadeInputs:
    """Entries told apart by their words, unless spelt alike, and by meaning as noise allows."""
    generator = np.random.default_rng(3)
    words = ["same"] * len(WORDS) if spelt_alike else WORDS
    texts = [f"about my {word} {i * 7 % 5}{i}" for word in words for i in range(EACH)]
    entry_of = np.r_[np.repeat(np.arange(len(WORDS)), EACH), np.arange(len(WORDS))]
    points = generator.normal(size=(len(WORDS), 16))[entry_of]
    points = points + noise * generator.normal(size=points.shape)
    answers = [f"answer {n}" for n in range(len(WORDS))]
    rows = Rows(entry_of, texts + answers, len(texts), unit(points))
    fitted = fit(rows, learn(texts))
    far = predict_as_new(
        fitted.index, FAR, unit(generator.normal(size=(len(FAR), 16))), [frozenset()] * len(FAR)
    )
    cases = CalibrationSet(
        fitted.known, fitted.missing, far, LabelledPredictions.join([]), np.zeros(0, bool)
    )
    return CascadeInputs(rows, None, fitted, cases, calibrate(cases), FAR, [], [])


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def good() -> CascadeInputs:
    return exam(noise=1.5)


@pytest.fixture(scope="module")
def made(good: CascadeInputs) -> CascadeResult:
    return make_cascade(good, 0.95)


def test_it_answers_where_it_is_right_as_often_as_the_encoder(
    good: CascadeInputs, made: CascadeResult
):
    assert made.cascade is not None
    assert made.figures["accuracy"] >= made.figures["encoder_accuracy"]
    assert made.figures["share"] >= cascade.LEAST_SHARE
    assert made.cascade.confidence_threshold == made.figures["cut"] >= good.index.threshold


def test_it_hands_off_as_well_as_the_encoder_but_for_the_margin(made: CascadeResult):
    figures = made.figures
    pairs = zip(figures["handoff_recall"], figures["encoder_handoff_recall"], strict=True)
    assert all(ours >= theirs - cascade.RECALL_MARGIN for ours, theirs in pairs)
    pairs = zip(figures["auroc"], figures["encoder_auroc"], strict=True)
    assert all(ours >= theirs - cascade.SCOPE_MARGIN for ours, theirs in pairs)


def test_what_belongs_to_no_shop_is_not_answered(made: CascadeResult):
    assert made.cascade is not None
    assert (
        max(verdict.confidence for verdict in made.cascade.classify(FAR, 2))
        < made.cascade.confidence_threshold
    )


def test_there_is_none_where_the_encoder_is_better():
    made = make_cascade(exam(noise=0.1, spelt_alike=True), 0.95)
    assert made.cascade is None
    assert made.figures["share"] == 0
    assert "off" in made.figures


def test_there_is_none_beyond_what_can_be_fitted_in_time(good: CascadeInputs, monkeypatch):
    monkeypatch.setattr(cascade, "MOST_PHRASINGS", 10)
    assert "more than 10 phrasings" in make_cascade(good, 0.95).figures["off"]


def test_there_is_none_that_would_take_too_much_memory(good: CascadeInputs, monkeypatch):
    monkeypatch.setattr(cascade, "MOST_WEIGHTS", 10)
    assert "too many weights" in make_cascade(good, 0.95).figures["off"]


def test_labelled_questions_that_it_gets_wrong_raise_the_cut_or_end_it(
    good: CascadeInputs, made: CascadeResult
):
    asked = [f"about my {word} 99" for word in WORDS] * 5
    nothing_fits = [frozenset()] * len(asked)
    index = good.fitted.index
    far_away = unit(np.random.default_rng(1).normal(size=(len(asked), 16)))
    labelled = replace(predict_as_new(index, asked, far_away, nothing_fits))
    cases = replace(good.cases, labelled=labelled, labelled_in_scope=np.zeros(len(asked), bool))
    confident = replace(good, cases=cases, labelled=asked, expected=nothing_fits)
    found = make_cascade(confident, 0.95)
    assert found.cascade is None or found.figures["share"] < made.figures["share"]


TRIAL = cascade._Trial(0.9, 0.5, 0.99, 0.98, [0.8], [0.8], [0.9], [0.9])


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"accuracy": 0.979}, False),
        ({"accuracy": None}, False),
        ({"share": 0.09}, False),
        ({"handoff_recall": [0.796]}, True),
        ({"handoff_recall": [0.794]}, False),
        ({"auroc": [0.891]}, True),
        ({"auroc": [0.889]}, False),
    ],
)
def test_a_cut_passes_only_if_nothing_gets_worse(change, passes):
    assert replace(TRIAL, **change).passes is passes
