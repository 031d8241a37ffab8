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
OUT_OF_SCOPE = [f"{word} {n}" for word in ("weather", "football", "recipe") for n in range(10)]
EACH = 24


def inputs(noise: float, *, spelt_alike: bool = False) -> CascadeInputs:
    """Entries with words of their own, unless spelt alike, and with noisy embeddings."""
    generator = np.random.default_rng(3)
    words = ["same"] * len(WORDS) if spelt_alike else WORDS
    texts = [f"about my {word} {i * 7 % 5}{i}" for word in words for i in range(EACH)]
    entry_of = np.r_[np.repeat(np.arange(len(WORDS)), EACH), np.arange(len(WORDS))]
    points = generator.normal(size=(len(WORDS), 16))[entry_of]
    points = points + noise * generator.normal(size=points.shape)
    answers = [f"answer {n}" for n in range(len(WORDS))]
    rows = Rows(entry_of, texts + answers, len(texts), unit(points))
    fitted = fit(rows, learn(texts))
    out_of_scope = predict_as_new(
        fitted.index,
        OUT_OF_SCOPE,
        unit(generator.normal(size=(len(OUT_OF_SCOPE), 16))),
        [frozenset()] * len(OUT_OF_SCOPE),
    )
    questions = CalibrationSet(
        fitted.known, fitted.near, out_of_scope, LabelledPredictions.join([]), np.zeros(0, bool)
    )
    return CascadeInputs(rows, None, fitted, questions, calibrate(questions), OUT_OF_SCOPE, [], [])


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def good() -> CascadeInputs:
    return inputs(noise=1.5)


@pytest.fixture(scope="module")
def result(good: CascadeInputs) -> CascadeResult:
    return make_cascade(good, 0.95)


def test_it_answers_where_it_is_right_as_often_as_the_encoder(
    good: CascadeInputs, result: CascadeResult
):
    assert result.cascade is not None
    assert result.metrics["accuracy"] >= result.metrics["encoder_accuracy"]
    assert result.metrics["share"] >= cascade.MIN_SHARE
    assert result.cascade.confidence_threshold == result.metrics["cut"] >= good.index.threshold


def test_it_hands_off_as_well_as_the_encoder_but_for_the_margin(result: CascadeResult):
    metrics = result.metrics
    pairs = zip(metrics["handoff_recall"], metrics["encoder_handoff_recall"], strict=True)
    assert all(ours >= theirs - cascade.RECALL_MARGIN for ours, theirs in pairs)
    pairs = zip(metrics["auroc"], metrics["encoder_auroc"], strict=True)
    assert all(ours >= theirs - cascade.AUROC_MARGIN for ours, theirs in pairs)


def test_what_belongs_to_no_shop_is_not_answered(result: CascadeResult):
    assert result.cascade is not None
    assert (
        max(prediction.confidence for prediction in result.cascade.classify(OUT_OF_SCOPE, 2))
        < result.cascade.confidence_threshold
    )


def test_there_is_no_cascade_where_the_encoder_is_better():
    result = make_cascade(inputs(noise=0.1, spelt_alike=True), 0.95)
    assert result.cascade is None
    assert result.metrics["share"] == 0
    assert "off" in result.metrics


def test_there_is_no_cascade_beyond_what_can_be_fitted_in_time(good: CascadeInputs, monkeypatch):
    monkeypatch.setattr(cascade, "MAX_PHRASINGS", 10)
    assert "more than 10 phrasings" in make_cascade(good, 0.95).metrics["off"]


def test_there_is_no_cascade_that_would_take_too_much_memory(good: CascadeInputs, monkeypatch):
    monkeypatch.setattr(cascade, "MAX_WEIGHTS", 10)
    assert "too many weights" in make_cascade(good, 0.95).metrics["off"]


def test_labelled_questions_that_it_gets_wrong_raise_the_cut_or_end_it(
    good: CascadeInputs, result: CascadeResult
):
    texts = [f"about my {word} 99" for word in WORDS] * 5
    nothing = [frozenset()] * len(texts)
    index = good.fitted.index
    embeddings = unit(np.random.default_rng(1).normal(size=(len(texts), 16)))
    labelled = replace(predict_as_new(index, texts, embeddings, nothing))
    questions = replace(
        good.questions, labelled=labelled, labelled_in_scope=np.zeros(len(texts), bool)
    )
    confident = replace(good, questions=questions, labelled=texts, expected=nothing)
    stricter = make_cascade(confident, 0.95)
    assert stricter.cascade is None or stricter.metrics["share"] < result.metrics["share"]


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
