from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import stack
from core.domain.handoff import Reason
from core.domain.result import Answer, Status
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget
from worker.lifecycle.build.build_bundle import build
from worker.lifecycle.inputs.knowledge_file import read_knowledge
from worker.lifecycle.training.encoder_source import find_encoder
from worker.model.bundle.bundle import Bundle, Entry
from worker.model.load import load
from worker.model.loaded_model import LoadedModel
from worker.model.retrieval.confidence import Confidence, LogisticCurve
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.model.thread_pool import ThreadPool


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> LoadedModel:
    return load(tiny_bundle, "tiny@1")


def ask(model: LoadedModel, text: str) -> Answer:
    return answer_texts(model, [text])[0]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("Where is my refund?", "refund"),
        ("您是机器人吗？", "robot-zh"),
        ("👍", "thanks"),
    ],
)
def test_a_known_phrasing_is_answered_with_certainty(model: LoadedModel, text: str, entry: str):
    answer = ask(model, text)
    assert (answer.status, answer.entry_id, answer.confidence) == (Status.ANSWERED, entry, 1.0)
    assert answer.answer
    assert answer.reason is None


@pytest.mark.parametrize(
    "text", ["WHERE IS MY REFUND", "where is my refund!!!", "Where is my ｒefund"]
)
def test_case_width_and_punctuation_do_not_matter(model: LoadedModel, text: str):
    answer = ask(model, text)
    assert (answer.matched, answer.confidence) == ("Where is my refund?", 1.0)


def test_answers_and_hand_offs_have_the_url_of_the_entry(model: LoadedModel):
    assert ask(model, "Where is my parcel?").url == "https://shop.example/orders"
    assert ask(model, "Where is my refund?").url is None
    handed_off = ask(replace(model, threshold=1.1), "where my parcel is")
    assert (handed_off.entry_id, handed_off.url) == ("track", "https://shop.example/orders")


@pytest.mark.parametrize("text", ["???", "😀", "—"])
def test_an_unreadable_text_is_handed_off_as_empty(model: LoadedModel, text: str):
    assert ask(model, text) == Answer(Status.HANDED_OFF, reason=Reason.EMPTY)


def test_a_hand_off_keeps_the_nearest_entry_for_the_agent(model: LoadedModel):
    answer = ask(replace(model, threshold=1.1), "where my refund is")
    assert answer.status is Status.HANDED_OFF
    assert answer.answer is None
    assert (answer.entry_id, answer.matched) == ("refund", "Where is my refund?")
    assert answer.confidence is not None
    assert answer.reason in {Reason.AMBIGUOUS, Reason.OUT_OF_SCOPE}


def test_at_the_threshold_a_question_is_answered(model: LoadedModel):
    confidence = ask(model, "where my refund is").confidence
    assert confidence
    assert confidence < 1
    exactly = ask(replace(model, threshold=confidence), "where my refund is")
    assert exactly.status is Status.ANSWERED
    above = ask(replace(model, threshold=confidence + 0.0001), "where my refund is")
    assert above.status is Status.HANDED_OFF


def test_a_phrasing_of_two_entries_matches_neither():
    entries = [Entry("a", "A", ["Hello!", "hi"]), Entry("b", "B", ["hello", "yo"])]
    knowledge = KnowledgeBase.of(entries)
    assert knowledge.equal("HELLO") is None
    assert knowledge.equal("hi") == 1
    assert knowledge.entry_of == [0, 0, 1, 1]


def test_a_phrasing_that_one_entry_has_twice_matches_it():
    assert KnowledgeBase.of([Entry("a", "A", ["Hello!", "hello"])]).equal("hello") == 0


def test_runners_up_come_on_request_and_name_other_entries(model: LoadedModel):
    answer = ask(replace(model, runners_up=2, threshold=0.0), "where my refund is")
    assert answer.runners_up is not None
    entries = [answer.entry_id, *(other.entry_id for other in answer.runners_up)]
    assert len(set(entries)) == 3
    scores = [other.score for other in answer.runners_up]
    assert scores == sorted(scores, reverse=True)
    assert scores == [round(score, 4) for score in scores]
    assert ask(replace(model, threshold=0.0), "where my refund is").runners_up is None


IN_SCOPE = Confidence(LogisticCurve(9.0, [0.0] * 5), LogisticCurve(0.0, [0.0] * 5))
OUT_OF_SCOPE = Confidence(LogisticCurve(-9.0, [0.0] * 5), LogisticCurve(0.0, [0.0] * 5))


def test_an_ambiguous_question_names_both_entries(model: LoadedModel):
    strict = replace(model, threshold=1.1, confidence=IN_SCOPE)
    answer = ask(strict, "where my refund is")
    assert answer.reason is Reason.AMBIGUOUS
    assert answer.runners_up is not None
    assert len(answer.runners_up) == 1
    assert answer.runners_up[0].entry_id != answer.entry_id


@pytest.mark.parametrize(
    ("threshold", "reason"), [(0.9999, Reason.AMBIGUOUS), (1.0, Reason.OUT_OF_SCOPE)]
)
def test_the_versions_scope_threshold_separates_out_of_scope_from_ambiguous(
    model: LoadedModel, threshold: float, reason: Reason
):
    strict = replace(model, threshold=1.1, confidence=IN_SCOPE, scope_threshold=threshold)
    answer = ask(strict, "where my refund is")
    assert (answer.in_scope_probability, answer.reason) == (0.9999, reason)


def test_an_out_of_scope_text_in_another_language_is_handed_off_for_its_language(
    model: LoadedModel,
):
    strict = replace(model, confidence=OUT_OF_SCOPE)
    french = ask(strict, "Ou est ma commande s'il vous plait monsieur")
    assert french.reason is Reason.WRONG_LANGUAGE
    english = ask(strict, "What is the weather like today in the city")
    assert english.reason is Reason.OUT_OF_SCOPE


def test_several_questions_at_once_are_named(model: LoadedModel):
    strict = replace(model, threshold=1.0)  # only a known phrasing is clear
    answer = ask(strict, "Where is my refund? Where is my parcel?")
    assert answer.reason is Reason.SEVERAL_QUESTIONS
    assert answer.runners_up is not None
    assert [answer.entry_id, *(other.entry_id for other in answer.runners_up)] == [
        "refund",
        "track",
    ]


def test_small_talk_next_to_one_question_is_ignored(model: LoadedModel):
    strict = replace(model, threshold=1.0)
    answer = ask(strict, "Where is my refund? Thank you!")
    assert (answer.status, answer.entry_id) == (Status.ANSWERED, "refund")
    assert ask(strict, "Where is my refund? Blorp blorp blorp.").status is Status.HANDED_OFF


def test_answers_do_not_depend_on_order_or_pass(model: LoadedModel):
    texts = ["refund pls", "track it", "你是机器", "thanks!", "some poem about rain", "refund pls"]
    whole = answer_texts(model, texts)
    alone = [ask(model, text) for text in texts]
    small = answer_texts(replace(model, budget=PassBudget(tokens=1, questions=1)), texts[::-1])
    assert whole == alone == small[::-1]


def test_answers_do_not_depend_on_the_number_of_threads(model: LoadedModel):
    texts = [f"refund pls {n}" for n in range(40)] + ["track it", "some poem about rain"]
    assert answer_texts(replace(model, pool=ThreadPool.of(3)), texts) == answer_texts(model, texts)


def test_the_sentences_of_several_texts_are_answered_together_as_alone(model: LoadedModel):
    texts = [
        "Where is my refund? Where is my parcel?",
        "Where is my refund? Thank you!",
        "Where is my refund? Blorp blorp blorp.",
        "Where is my parcel now? Blorp blorp blorp.",
    ]
    strict = replace(model, threshold=1.0)  # only a known phrasing is clear
    alone = [ask(strict, text) for text in texts]
    assert answer_texts(strict, texts) == alone
    assert len({answer.status for answer in alone}) > 1


def test_importing_the_bundle_or_the_registry_does_not_import_torch():
    code = (
        "import sys, worker.inference.passes, worker.model.bundle.bundle, worker.model.registry,"
        " worker.model.retrieval.confidence; sys.exit('torch' in sys.modules)"
    )
    root = Path(stack.__path__[0]).parent
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The shop that ships, with the encoder that ships."""
    sample = Path(stack.__path__[0]) / "sample" / "knowledge.jsonl"
    bundle = build(
        tmp_path_factory.mktemp("store"),
        "shop",
        read_knowledge(sample),
        find_encoder(None),
        threads=0,
        on_progress=lambda *_: None,
    )
    return load(bundle, "shop@1")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("您是机器人吗？", "are-you-a-robot-zh"),
        ("你好请问你是机器人吗", "are-you-a-robot-zh"),
        ("are u a robot??", "are-you-a-robot"),
        ("where's my package at", "track-order"),
    ],
)
def test_the_shop_that_ships_answers(shop: LoadedModel, text: str, entry: str):
    answer = ask(shop, text)
    assert (answer.status, answer.entry_id) == (Status.ANSWERED, entry)


@pytest.mark.costly
@pytest.mark.parametrize(
    "text", ["What's the weather like tomorrow?", "Write a poem about the sea", "法国的首都是哪里"]
)
def test_the_shop_that_ships_hands_off_what_fits_nothing(shop: LoadedModel, text: str):
    assert ask(shop, text).status is Status.HANDED_OFF
