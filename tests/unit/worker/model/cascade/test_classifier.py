from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.result import AnswerSource, Status
from tests.unit.worker.conftest import ENTRIES
from worker.inference.passes import answer_texts
from worker.lifecycle.build.linear_svm import CrossValidation
from worker.model.bundle.bundle import Bundle, hash_files
from worker.model.cascade import classifier as cascades
from worker.model.cascade import ngrams
from worker.model.cascade.classifier import Cascade
from worker.model.load import load
from worker.model.loaded_model import LoadedModel
from worker.model.retrieval.confidence import Confidence, LogisticCurve
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.text.normalization import normalize_for_match

KNOWLEDGE = KnowledgeBase.of(ENTRIES)
TEXTS = [normalize_for_match(text) for text in KNOWLEDGE.phrasings]
# Its confidence follows the lead of the best entry.
BY_LEAD = Confidence(
    scope=LogisticCurve(9.0, [0.0] * 5), right=LogisticCurve(-2.0, [0.0, 6.0, 0.0, 0.0, 0.0])
)
QUESTIONS = st.lists(
    st.text(alphabet="abcdefr eunmoyhi 您机器人", min_size=1, max_size=40), max_size=9
)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    entry_of = np.array(KNOWLEDGE.entry_of)
    linear = CrossValidation(ngrams.learn(TEXTS), TEXTS, entry_of).fit(np.ones(len(TEXTS), bool))
    return Cascade(linear, BY_LEAD, confidence_threshold=0.8)


@pytest.fixture
def model(tiny_bundle: Bundle, cascade: Cascade) -> LoadedModel:
    return replace(load(tiny_bundle, "tiny@1"), cascade=cascade)


class Broken:
    """An encoder that must not be called."""

    def tokenize(self, texts):
        raise AssertionError(texts)


def test_a_confident_cascade_answers_without_the_encoder(model: LoadedModel):
    (answer,) = answer_texts(replace(model, encoder=Broken()), ["please, where is my refund"])
    assert (answer.status, answer.entry_id) == (Status.ANSWERED, "refund")
    assert answer.matched == "Where is my refund?"
    assert answer.via is AnswerSource.CASCADE
    assert answer.confidence >= 0.8


def test_a_question_with_less_confidence_goes_to_the_encoder(model: LoadedModel):
    (answer,) = answer_texts(model, ["how are you today"])
    assert answer.via is AnswerSource.PASS
    assert answer == answer_texts(replace(model, cascade=None), ["how are you today"])[0]


def test_it_never_answers_below_the_threshold_of_the_version(model: LoadedModel):
    strict = replace(model, threshold=0.9999)
    assert answer_texts(strict, ["please, where is my refund"])[0].via is AnswerSource.PASS


@given(texts=QUESTIONS)
def test_no_bit_of_a_prediction_depends_on_neighbors(cascade: Cascade, texts: list[str]):
    together = cascade.classify(texts, 3)
    assert together == [cascade.classify([text], 3)[0] for text in texts]


def test_texts_beyond_a_block_are_classified_too(cascade: Cascade, monkeypatch: pytest.MonkeyPatch):
    whole = cascade.classify(TEXTS, 2)
    monkeypatch.setattr(cascades, "_BLOCK", 3)
    assert cascade.classify(TEXTS, 2) == whole


def test_a_cascade_is_read_from_a_bundle_as_it_was_written(
    tiny_bundle: Bundle, cascade: Cascade, tmp_path: Path
):
    cascades.write(tmp_path, cascade)
    written = cascades.parameters(cascade)
    files = hash_files(tmp_path)
    bundle = Bundle(tmp_path, replace(tiny_bundle.manifest, cascade=written, files=files))
    read = cascades.read(bundle, TEXTS, KNOWLEDGE.entry_of)
    assert read is not None
    texts = ["refund late", "who are you", "机器人"]
    assert read.classify(texts, 3) == cascade.classify(texts, 3)
    assert bundle.manifest.digest != replace(bundle.manifest, cascade=None).digest


def test_a_bundle_without_a_cascade_has_none(tiny_bundle: Bundle):
    assert tiny_bundle.manifest.cascade is None
    assert cascades.read(tiny_bundle, TEXTS, KNOWLEDGE.entry_of) is None
