from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.build.calibrate import EVENS, Calibration, CalibrationSet, calibrate
from worker.lifecycle.build.fit import LabelledPredictions
from worker.model.retrieval.confidence import UNCALIBRATED

NONE = LabelledPredictions.join([])


def asked(count: int, level: float, *, right: float = 0.0, seed: int = 1) -> LabelledPredictions:
    """Questions with features about a level; the higher of them are the right ones."""
    generator = np.random.default_rng(seed)
    features = level + 0.3 * generator.normal(size=(count, 5))
    luck = features.mean(axis=1) + 0.1 * generator.normal(size=count)
    return LabelledPredictions(
        features, luck >= np.quantile(luck, 1 - right) if right else np.zeros(count, bool)
    )


def cases(**parts: LabelledPredictions) -> CalibrationSet:
    filled = {
        "known": asked(2_000, 1.0, right=0.8),
        "near": asked(2_000, 0.3, seed=2),
        "far": asked(200, -0.5, seed=3),
        "labelled": NONE,
        "labelled_in_scope": np.zeros(0, bool),
    }
    return CalibrationSet(**{**filled, **parts})


def precision(calibration: Calibration, part: LabelledPredictions) -> float:
    chances = calibration.confidence
    sure = chances.scope.chances(part.features) * chances.right.chances(part.features)
    return float(part.right[sure >= calibration.threshold].mean())


@pytest.mark.parametrize("target", [0.9, 0.95, 0.99])
def test_the_answers_are_as_precise_as_was_asked_for(target: float):
    calibration = calibrate(cases(), target)
    assert calibration.metrics["cv_precision"] >= target
    assert precision(calibration, asked(5_000, 1.0, right=0.8, seed=9)) > target - 0.02


def test_more_precision_costs_coverage():
    low, high = calibrate(cases(), 0.9), calibrate(cases(), 0.99)
    assert high.threshold > low.threshold
    assert high.metrics["cv_coverage"] < low.metrics["cv_coverage"]


def test_what_is_more_likely_wrong_than_right_is_handed_off_whatever_the_target():
    assert calibrate(cases(known=asked(2_000, 1.0, right=0.999)), 0.5).threshold == EVENS


def test_confidence_means_what_it_says():
    assert calibrate(cases()).metrics["ece"] < 0.03


def test_strangers_are_told_apart_and_far_ones_better():
    metrics = calibrate(cases()).metrics
    assert metrics["near_auroc"] > 0.95
    assert metrics["far_auroc"] >= metrics["near_auroc"]
    assert metrics["far_handoff_recall"] >= metrics["near_handoff_recall"]


def test_a_labelled_file_outweighs_the_phrasings():
    # Customers ask what the index finds hard: nothing is right below a higher level.
    hard = asked(2_000, 1.0, right=0.3, seed=4)
    with_file = calibrate(cases(labelled=hard, labelled_in_scope=np.ones(2_000, bool)))
    assert precision(with_file, asked(5_000, 1.0, right=0.3, seed=8)) > 0.9
    assert precision(calibrate(cases()), asked(5_000, 1.0, right=0.3, seed=8)) < 0.6


@pytest.mark.parametrize(
    "parts", [{"known": asked(5, 1.0, right=0.8)}, {"near": NONE, "far": NONE}]
)
def test_too_little_to_fit_on_is_told(parts: dict[str, LabelledPredictions]):
    calibration = calibrate(cases(**parts))
    assert calibration.confidence is UNCALIBRATED
    assert calibration.metrics["calibrated"] is False


def test_a_labelled_file_is_enough_where_phrasings_are_few():
    file = {"labelled": asked(500, 1.0, right=0.8), "labelled_in_scope": np.ones(500, bool)}
    calibration = calibrate(cases(known=asked(5, 1.0, right=0.8), **file))
    assert calibration.metrics["calibrated"] is True


def test_nothing_at_all_to_ask_is_no_fault():
    calibration = calibrate(cases(known=NONE, near=NONE, far=NONE))
    assert calibration.threshold == EVENS
    assert calibration.metrics["cv_accuracy"] is None


def test_where_all_is_right_the_entry_is_never_quite_certain():
    calibration = calibrate(cases(known=asked(2_000, 1.0, right=1.0)))
    chances = calibration.confidence.right.chances(np.ones((1, 5)))
    assert 0.99 < chances[0] < 1


def test_what_is_handed_off_is_told_apart_by_its_scope_however_few_strangers_are_assumed():
    asked_of = {"known": asked(2_000, 1.0, right=0.5), "near": asked(2_000, 0.6, seed=2)}
    calibration = calibrate(cases(**asked_of), 0.99)
    handed_off = {}
    for kind, part in asked_of.items():
        sure, scope = calibration.confidence.chances(part.features)
        handed_off[kind] = scope[sure < calibration.threshold]
    assert (handed_off["near"] < calibration.scope_cut).mean() > 0.8
    assert (handed_off["known"] >= calibration.scope_cut).mean() > 0.8
    assert (handed_off["near"] < EVENS).mean() < 0.6  # evens would not tell


def test_where_one_kind_only_is_handed_off_the_cut_is_at_evens():
    known = asked(2_000, 1.0, right=0.999)
    assert calibrate(cases(known=known, near=NONE, far=NONE)).scope_cut == EVENS
