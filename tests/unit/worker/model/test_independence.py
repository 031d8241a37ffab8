"""Answers with any encoder are independent of neighbors and pass size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.domain.result import Answer
from tests.unit.worker.conftest import ENTRIES
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget
from worker.model.bundle.bundle import Bundle
from worker.model.encoder.base import KINDS, EncoderKind
from worker.model.load import load
from worker.model.loaded_model import LoadedModel

TEXTS = st.lists(
    st.one_of(
        st.sampled_from([text for entry in ENTRIES for text in entry.questions]),
        st.text(alphabet="abcdefghij ?!您是机器人吗", min_size=1, max_size=80),
    ).filter(str.strip),
    min_size=1,
    max_size=12,
    unique_by=str.strip,
)
BUDGETS = st.builds(
    PassBudget, tokens=st.sampled_from([1, 64, 2_000]), questions=st.integers(1, 16)
)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def model(tiny_bundles: dict[EncoderKind, Bundle], request: pytest.FixtureRequest) -> LoadedModel:
    """A model that answers all questions, to compare their confidence."""
    return replace(load(tiny_bundles[request.param], "tiny@1", 2, 3), threshold=0.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(texts=TEXTS, budget=BUDGETS, data=st.data())
def test_an_answer_does_not_depend_on_neighbors_pass_size_or_order(
    model: LoadedModel, texts: list[str], budget: PassBudget, data: st.DataObject
):
    alone = {text: answer_texts(model, [text])[0] for text in texts}
    order = data.draw(st.permutations(texts))
    together = answer_texts(replace(model, budget=budget), order)
    for text, answer in zip(order, together, strict=True):
        if model.kind == "torch fp32":
            assert numbers(answer) == pytest.approx(numbers(alone[text]), abs=1.1e-4)
            assert without_numbers(answer) == without_numbers(alone[text])
        else:
            assert answer == alone[text]


def numbers(answer: Answer) -> list[float]:
    """Return the numbers. Their last digit depends on PyTorch's passes."""
    scores = [runner_up.score for runner_up in answer.runners_up or ()]
    return [answer.confidence or 0.0, answer.in_scope_probability or 0.0, *scores]


def without_numbers(answer: Answer) -> Answer:
    """Return the answer with 0 for each number."""
    runners_up = tuple(replace(each, score=0.0) for each in answer.runners_up or ())
    return replace(answer, confidence=0.0, in_scope_probability=0.0, runners_up=runners_up)
