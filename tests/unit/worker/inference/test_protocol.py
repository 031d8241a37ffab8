"""The contract of AnsweringModel, kept by the tests' models and by a real one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from core.domain.model_version import ModelVersion, VersionState
from core.domain.result import Answer, Status
from tests.chaos.simulated import Simulated
from tests.factories import NOW
from tests.fakes import FakeModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import ModelWrapper
from worker.model.load import load

TEXTS = ["Where is my refund?", "where is the parcel of my sister", "Thank you", "?", "refund"]


@pytest.fixture(params=["fake", "wrapped", "simulated", "real"])
def model(request):
    if request.param == "real":
        return load(request.getfixturevalue("tiny_bundle"), "tiny@1")
    if request.param == "simulated":
        return Simulated(ModelVersion("chaos", 1, VersionState.PRODUCTION, "good", {}, NOW))
    return FakeModel() if request.param == "fake" else ModelWrapper(FakeModel())


def content(answers):
    """Return the parts of answers that do not depend on the rounding of a pass."""
    return [(answer.status, answer.answer, answer.entry_id) for answer in answers]


def test_the_version_has_a_name_and_a_number(model):
    assert re.fullmatch(r"\w+@\d+", model.version)


def test_a_pass_may_have_a_question(model):
    assert model.budget.tokens > 0
    assert model.budget.questions > 0


def test_each_text_gets_an_answer_without_the_encoder_or_none(model):
    answers = model.answer_without_encoder(TEXTS)
    assert len(answers) == len(TEXTS)
    assert all(answer is None or isinstance(answer, Answer) for answer in answers)
    assert model.answer_without_encoder([]) == []


def test_each_text_gets_tokens_that_depend_on_no_other_text(model):
    together = [list(ids) for ids in model.tokenize(TEXTS)]
    assert together == [list(*model.tokenize([text])) for text in TEXTS]
    assert all(together)


def test_a_pass_gives_each_text_an_embedding(model):
    tokens = model.tokenize(TEXTS)
    embeddings = model.encode(tokens)
    assert embeddings.dtype == np.float32
    assert embeddings.ndim == 2
    assert len(embeddings) == len(TEXTS)
    assert np.isfinite(embeddings).all()


def test_each_embedding_gets_an_answer(model):
    answers = model.decide(TEXTS, model.encode(model.tokenize(TEXTS)))
    assert len(answers) == len(TEXTS)
    assert {answer.status for answer in answers} <= {Status.ANSWERED, Status.HANDED_OFF}


def test_answers_do_not_depend_on_the_other_texts_of_a_pass(model):
    together = answer_texts(model, TEXTS)
    alone = [answer for text in TEXTS for answer in answer_texts(model, [text])]
    assert content(together) == content(alone)
