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


def test_answers_and_hand_offs_say_where_the_entry_can_be_read(model: LoadedModel):
    assert ask(model, "Where is my parcel?").url == "https://shop.example/orders"
    assert ask(model, "Where is my refund?").url is None
    unsure = ask(replace(model, threshold=1.1), "where my parcel is")
    assert (unsure.entry_id, unsure.url) == ("track", "https://shop.example/orders")


@pytest.mark.parametrize("text", ["???", "😀", "—"])
def test_what_nobody_can_read_is_handed_off_as_empty(model: LoadedModel, text: str):
    assert ask(model, text) == Answer(Status.HANDED_OFF, reason=Reason.EMPTY)


def test_a_hand_off_keeps_the_nearest_entry_for_the_human(model: LoadedModel):
    answer = ask(replace(model, threshold=1.1), "where my refund is")
    assert answer.status is Status.HANDED_OFF
    assert answer.answer is None
    assert (answer.entry_id, answer.matched) == ("refund", "Where is my refund?")
    assert answer.confidence is not None
    assert answer.reason in {Reason.AMBIGUOUS, Reason.OUT_OF_SCOPE}


def test_at_the_threshold_a_question_is_answered(model: LoadedModel):
    sure = ask(model, "where my refund is").confidence
    assert sure
    assert sure < 1
    assert ask(replace(model, threshold=sure), "where my refund is").status is Status.ANSWERED
    above = ask(replace(model, threshold=sure + 0.0001), "where my refund is")
    assert above.status is Status.HANDED_OFF


def test_a_phrasing_of_two_entries_speaks_for_neither():
    entries = [Entry("a", "A", ["Hello!", "hi"]), Entry("b", "B", ["hello", "yo"])]
    knowledge = KnowledgeBase.of(entries)
    assert knowledge.equal("HELLO") is None
    assert knowledge.equal("hi") == 1
    assert knowledge.entry_of == [0, 0, 1, 1]


def test_a_phrasing_that_an_entry_has_twice_speaks_for_it():
    assert KnowledgeBase.of([Entry("a", "A", ["Hello!", "hello"])]).equal("hello") == 0


def test_runners_up_come_on_request_and_name_other_entries(model: LoadedModel):
    asked = ask(replace(model, runners_up=2, threshold=0.0), "where my refund is")
    assert asked.runners_up is not None
    named = [asked.entry_id, *(other.entry_id for other in asked.runners_up)]
    assert len(set(named)) == 3
    scores = [other.score for other in asked.runners_up]
    assert scores == sorted(scores, reverse=True)
    assert scores == [round(score, 4) for score in scores]
    assert ask(replace(model, threshold=0.0), "where my refund is").runners_up is None


SURE = Confidence(
    LogisticCurve(9.0, [0.0] * 5), LogisticCurve(0.0, [0.0] * 5)
)  # of scope, not of the entry


def test_an_ambiguous_question_names_both_entries(model: LoadedModel):
    unsure = replace(model, threshold=1.1, confidence=SURE)
    answer = ask(unsure, "where my refund is")
    assert answer.reason is Reason.AMBIGUOUS
    assert answer.runners_up is not None
    assert len(answer.runners_up) == 1
    assert answer.runners_up[0].entry_id != answer.entry_id


@pytest.mark.parametrize(
    ("cut", "reason"), [(0.9999, Reason.AMBIGUOUS), (1.0, Reason.OUT_OF_SCOPE)]
)
def test_the_versions_own_cut_tells_out_of_scope_from_ambiguous(
    model: LoadedModel, cut: float, reason: Reason
):
    unsure = replace(model, threshold=1.1, confidence=SURE, scope_cut=cut)  # its scope is 0.9999
    assert ask(unsure, "where my refund is").reason is reason


FOREIGN = Confidence(LogisticCurve(-9.0, [0.0] * 5), LogisticCurve(0.0, [0.0] * 5))


def test_what_is_out_of_scope_and_in_another_language_is_handed_off_for_that(model: LoadedModel):
    deaf = replace(model, confidence=FOREIGN)
    assert ask(deaf, "Ou est ma commande s'il vous plait monsieur").reason is Reason.WRONG_LANGUAGE
    assert ask(deaf, "What is the weather like today in the city").reason is Reason.OUT_OF_SCOPE


def test_several_questions_at_once_are_named(model: LoadedModel):
    unsure = replace(model, threshold=1.0)  # only a phrasing that is known is clear
    answer = ask(unsure, "Where is my refund? Where is my parcel?")
    assert answer.reason is Reason.SEVERAL_QUESTIONS
    assert answer.runners_up is not None
    assert [answer.entry_id, *(other.entry_id for other in answer.runners_up)] == [
        "refund",
        "track",
    ]


def test_small_talk_beside_one_question_does_not_hide_it(model: LoadedModel):
    unsure = replace(model, threshold=1.0)
    answer = ask(unsure, "Where is my refund? Thank you!")
    assert (answer.status, answer.entry_id) == (Status.ANSWERED, "refund")
    assert ask(unsure, "Where is my refund? Blorp blorp blorp.").status is Status.HANDED_OFF


def test_answers_do_not_depend_on_order_or_pass(model: LoadedModel):
    texts = ["refund pls", "track it", "你是机器", "thanks!", "some poem about rain", "refund pls"]
    whole = answer_texts(model, texts)
    alone = [ask(model, text) for text in texts]
    small = answer_texts(replace(model, budget=PassBudget(tokens=1, questions=1)), texts[::-1])
    assert whole == alone == small[::-1]


def test_answers_do_not_depend_on_how_many_threads_share_the_texts(model: LoadedModel):
    texts = [f"refund pls {n}" for n in range(40)] + ["track it", "some poem about rain"]
    assert answer_texts(replace(model, pool=ThreadPool.of(3)), texts) == answer_texts(model, texts)


def test_the_parts_of_several_texts_are_read_together_as_each_by_itself(model: LoadedModel):
    texts = [
        "Where is my refund? Where is my parcel?",
        "Where is my refund? Thank you!",
        "Where is my refund? Blorp blorp blorp.",
        "Where is my parcel now? Blorp blorp blorp.",
    ]
    unsure = replace(model, threshold=1.0)  # only a phrasing that is known is clear
    alone = [ask(unsure, text) for text in texts]
    assert answer_texts(unsure, texts) == alone
    assert len({answer.status for answer in alone}) > 1  # what they are told of differs


def test_importing_the_bundle_or_the_registry_does_not_import_torch():
    code = (
        "import sys, worker.inference.passes, worker.model.bundle.bundle, worker.model.retrieval.confidence,"
        " worker.model.registry; sys.exit('torch' in sys.modules)"
    )
    root = Path(stack.__path__[0]).parent
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The shop that ships, with the encoder that ships."""
    sample = Path(stack.__path__[0]) / "sample" / "knowledge.jsonl"
    made = build(
        tmp_path_factory.mktemp("store"),
        "shop",
        read_knowledge(sample),
        find_encoder(None),
        threads=0,
        on_progress=lambda *_: None,
    )
    return load(made, "shop@1")


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


@pytest.mark.parametrize(
    "text", ["What's the weather like tomorrow?", "Write a poem about the sea", "法国的首都是哪里"]
)
def test_the_shop_that_ships_hands_off_what_fits_nothing(shop: LoadedModel, text: str):
    assert ask(shop, text).status is Status.HANDED_OFF
