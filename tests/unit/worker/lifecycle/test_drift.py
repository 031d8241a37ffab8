from __future__ import annotations

import numpy as np
import pytest

from tests.unit.worker.conftest import ENTRIES
from worker.lifecycle.drift import Drift, Known, Limits, Sample, compare, sample_phrasings

LIMITS = Limits(cosine_least=0.9, cosine_p1=0.95, changed=0.1)
AXES = np.eye(3, dtype=np.float32)
KNOWN = Known(AXES, np.array([0, 1, 2]))  # three entries, one phrasing each


def asked(size: int) -> Sample:
    return Sample("asked", ["?"] * size, np.full(size, -1), None)


def drift(**figures: float) -> Drift:
    whole = {"cosine_mean": 1.0, "cosine_p1": 1.0, "cosine_least": 1.0, "changed": 0.0}
    counts = {"questions": 100, "clear": 100}
    unknown = {"accuracy_before": None, "accuracy_after": None}
    return Drift(**counts, **unknown, **whole | figures)


def test_equal_embeddings_do_not_drift():
    found = compare(asked(3), AXES, AXES, KNOWN)
    assert (found.cosine_least, found.changed, found.clear) == (1.0, 0.0, 3)
    assert found.beyond(LIMITS) == []


def test_clear_answers_that_change_are_counted():
    found = compare(asked(3), AXES, AXES[[0, 2, 1]], KNOWN)
    assert found.changed == pytest.approx(2 / 3, abs=1e-4)
    assert found.cosine_least == 0.0


def test_an_answer_that_was_not_clear_may_change():
    between = np.array([[0.7, 0.71, 0.05]], np.float32)
    found = compare(asked(1), between, between[:, [1, 0, 2]], KNOWN)
    assert (found.clear, found.changed) == (0, 0.0)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"cosine_least": 0.89}, "least cosine"),
        ({"cosine_p1": 0.94}, "1st percentile"),
        ({"changed": 0.11}, "clear answers change"),
        ({"cosine_least": float("nan")}, "least cosine"),
    ],
)
def test_what_goes_beyond_the_limits_is_named(figures: dict[str, float], told: str):
    (fault,) = drift(**figures).beyond(LIMITS)
    assert told in fault


def test_a_phrasing_is_compared_without_itself():
    sample = sample_phrasings(ENTRIES)
    assert len(sample.texts) == 11
    assert sample.itself.tolist() == list(range(11))
    known = Known(np.eye(2, dtype=np.float32), np.array([0, 1]))
    one = Sample("own", ["a"], np.array([0]), [frozenset({0})])
    found = compare(one, known.embeddings[:1], known.embeddings[:1], known)
    assert found.accuracy_before == 0.0  # its own row is left out, so the other entry is nearest
