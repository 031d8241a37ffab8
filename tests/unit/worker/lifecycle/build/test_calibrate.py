from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.build.calibrate import EVEN_ODDS, Calibration, CalibrationSet, calibrate
from worker.lifecycle.build.fit import LabelledPredictions
from worker.model.retrieval.confidence import UNCALIBRATED

NONE = LabelledPredictions.join([])


def questions(
    count: int, level: float, *, right: float = 0.0, seed: int = 1
) -> LabelledPredictions:
    """Questions with features about a level; the higher of them are the right ones."""
    generator = np.random.default_rng(seed)
    features = level + 0.3 * generator.normal(size=(count, 5))
    luck = features.mean(axis=1) + 0.1 * generator.normal(size=count)
    return LabelledPredictions(
        features, luck >= np.quantile(luck, 1 - right) if right else np.zeros(count, bool)
    )


def calibration_set(**parts: LabelledPredictions) -> CalibrationSet:
    filled = {
        "known": questions(2_000, 1.0, right=0.8),
        "near": questions(2_000, 0.3, seed=2),
        "out_of_scope": questions(200, -0.5, seed=3),
        "labelled": NONE,
        "labelled_in_scope": np.zeros(0, bool),
    }
    return CalibrationSet(**{**filled, **parts})


def precision(calibration: Calibration, part: LabelledPredictions) -> float:
    curves = calibration.confidence
    confidence = curves.scope.chances(part.features) * curves.right.chances(part.features)
    return float(part.right[confidence >= calibration.threshold].mean())


@pytest.mark.parametrize("target", [0.9, 0.95, 0.99])
def test_the_answers_are_as_precise_as_the_target(target: float):
    calibration = calibrate(calibration_set(), target)
    assert calibration.metrics["cv_precision"] >= target
    assert precision(calibration, questions(5_000, 1.0, right=0.8, seed=9)) > target - 0.02


def test_more_precision_costs_coverage():
    low, high = calibrate(calibration_set(), 0.9), calibrate(calibration_set(), 0.99)
    assert high.threshold > low.threshold
    assert high.metrics["cv_coverage"] < low.metrics["cv_coverage"]


def test_what_is_more_likely_wrong_than_right_is_handed_off_whatever_the_target():
    assert (
        calibrate(calibration_set(known=questions(2_000, 1.0, right=0.999)), 0.5).threshold
        == EVEN_ODDS
    )


def test_confidence_is_the_share_that_is_right():
    assert calibrate(calibration_set()).metrics["ece"] < 0.03


def test_questions_without_an_entry_are_separated_and_far_ones_better():
    metrics = calibrate(calibration_set()).metrics
    assert metrics["near_auroc"] > 0.95
    assert metrics["far_auroc"] >= metrics["near_auroc"]
    assert metrics["far_handoff_recall"] >= metrics["near_handoff_recall"]


def test_a_labelled_file_outweighs_the_phrasings():
    # Customers ask what the index finds hard: nothing is right below a higher level.
    hard = questions(2_000, 1.0, right=0.3, seed=4)
    with_file = calibrate(calibration_set(labelled=hard, labelled_in_scope=np.ones(2_000, bool)))
    assert precision(with_file, questions(5_000, 1.0, right=0.3, seed=8)) > 0.9
    assert precision(calibrate(calibration_set()), questions(5_000, 1.0, right=0.3, seed=8)) < 0.6


@pytest.mark.parametrize(
    "parts", [{"known": questions(5, 1.0, right=0.8)}, {"near": NONE, "out_of_scope": NONE}]
)
def test_too_few_questions_leave_the_confidence_uncalibrated(parts: dict[str, LabelledPredictions]):
    calibration = calibrate(calibration_set(**parts))
    assert calibration.confidence is UNCALIBRATED
    assert calibration.metrics["calibrated"] is False


def test_a_labelled_file_is_enough_where_phrasings_are_few():
    file = {"labelled": questions(500, 1.0, right=0.8), "labelled_in_scope": np.ones(500, bool)}
    calibration = calibrate(calibration_set(known=questions(5, 1.0, right=0.8), **file))
    assert calibration.metrics["calibrated"] is True


def test_no_question_at_all_is_not_an_error():
    calibration = calibrate(calibration_set(known=NONE, near=NONE, out_of_scope=NONE))
    assert calibration.threshold == EVEN_ODDS
    assert calibration.metrics["cv_accuracy"] is None


def test_where_all_is_right_the_entry_is_never_quite_certain():
    calibration = calibrate(calibration_set(known=questions(2_000, 1.0, right=1.0)))
    chances = calibration.confidence.right.chances(np.ones((1, 5)))
    assert 0.99 < chances[0] < 1


def test_the_scope_cut_separates_hand_offs_however_few_questions_are_out_of_scope():
    parts = {"known": questions(2_000, 1.0, right=0.5), "near": questions(2_000, 0.6, seed=2)}
    calibration = calibrate(calibration_set(**parts), 0.99)
    handed_off = {}
    for kind, part in parts.items():
        confidence, scope = calibration.confidence.chances(part.features)
        handed_off[kind] = scope[confidence < calibration.threshold]
    assert (handed_off["near"] < calibration.scope_cut).mean() > 0.8
    assert (handed_off["known"] >= calibration.scope_cut).mean() > 0.8
    assert (handed_off["near"] < EVEN_ODDS).mean() < 0.6  # even odds would not separate them


def test_if_only_one_kind_is_handed_off_the_cut_is_at_even_odds():
    known = questions(2_000, 1.0, right=0.999)
    assert (
        calibrate(calibration_set(known=known, near=NONE, out_of_scope=NONE)).scope_cut == EVEN_ODDS
    )
