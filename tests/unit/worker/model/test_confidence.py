from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.confidence import Reason, confidence, reason
from worker.model.text import Script

SCRIPTS = st.sampled_from(Script)
SHARES = st.floats(0, 1)
SIMILARITIES = st.floats(-1, 1)


@given(script=SCRIPTS, similarity=SIMILARITIES, share=SHARES)
def test_confidence_is_a_chance_of_four_decimals(script: Script, similarity: float, share: float):
    sure = confidence(script, similarity, share)
    assert 0 <= sure <= 1
    assert sure == round(sure, 4)


@given(script=SCRIPTS, similarity=SIMILARITIES, share=SHARES)
def test_nearer_and_less_disputed_is_surer(script: Script, similarity: float, share: float):
    sure = confidence(script, similarity, share)
    assert confidence(script, similarity + 0.1, share) >= sure
    assert confidence(script, similarity, min(1, share + 0.1)) >= sure


@pytest.mark.parametrize("script", Script)
def test_the_ends_of_the_scale_are_reached(script: Script):
    assert confidence(script, 0.0, 0.2) < 0.1
    assert confidence(script, 1.0, 1.0) > 0.95


def test_chinese_questions_are_surer_at_the_same_similarity():
    assert confidence(Script.CJK, 0.4, 0.8) > confidence(Script.SPACED, 0.4, 0.8)


@pytest.mark.parametrize(("script", "familiar"), [(Script.SPACED, 0.5), (Script.CJK, 0.25)])
def test_a_question_that_resembles_something_is_ambiguous(script: Script, familiar: float):
    assert reason(script, familiar) is Reason.AMBIGUOUS
    assert reason(script, familiar / 2) is Reason.OUT_OF_SCOPE
