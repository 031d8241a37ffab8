from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.model.retrieval.confidence import UNCALIBRATED, Confidence, LogisticCurve, features
from worker.model.retrieval.index import RetrievalResult


def result(score: float = 0.5, second: float = -0.5, similarity: float = 0.6) -> RetrievalResult:
    near = np.array([similarity], np.float32)
    return RetrievalResult(
        entries=np.array([[3, 1]]),
        phrasings=np.array([[7, 2]]),
        scores=np.array([[score, second]], np.float32),
        nearest=near,
        mean_nearest=near,
        best_entry=near,
    )


@given(score=st.floats(-1, 1), gap=st.floats(0, 1), similarity=st.floats(-1, 1))
def test_confidence_is_a_probability_of_four_decimals(score: float, gap: float, similarity: float):
    for chances in UNCALIBRATED.estimate(result(score, score - gap, similarity)):
        assert 0 <= chances[0] <= 1
        assert chances[0] == round(chances[0], 4)


def test_without_calibration_a_nearer_or_clearer_entry_has_more_confidence():
    confidence, _ = UNCALIBRATED.estimate(result())
    assert UNCALIBRATED.estimate(result(similarity=0.8))[0] > confidence
    assert UNCALIBRATED.estimate(result(second=-0.9))[0] > confidence


def test_confidence_is_the_probability_of_scope_times_that_of_the_entry():
    even, certain = LogisticCurve(0.0, [0.0] * 5), LogisticCurve(50.0, [0.0] * 5)
    assert [float(x[0]) for x in Confidence(even, even).estimate(result())] == [0.25, 0.5]
    assert [float(x[0]) for x in Confidence(certain, even).estimate(result())] == [0.5, 1.0]


def test_the_margin_is_over_the_next_best_and_none_without_one():
    assert features(result(0.5, -0.25))[0, 1] == 0.75
    alone = RetrievalResult(
        entries=np.array([[0]]),
        phrasings=np.array([[0]]),
        scores=np.array([[0.5]], np.float32),
        nearest=np.ones(1, np.float32),
        mean_nearest=np.ones(1, np.float32),
        best_entry=np.ones(1, np.float32),
    )
    assert features(alone)[0, 1] == 0
