from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text.normalization import MOST_SENTENCES, Script, normalize_for_match, script, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where's  my ORDER?!", "wheres my order"),
        ("Ｗｈｅｒｅ’s my order", "wheres my order"),
        ("where-is/my_order", "where is my order"),
        ("您是机器人吗？", "您是机器人吗"),
        ("您 是 机器人 吗", "您是机器人吗"),
        ("我的 iPhone 坏了", "我的iphone坏了"),
        ("STRASSE Straße", "strasse strasse"),
        ("नमस्ते", "नमस्ते"),
        ("#48213", "48213"),
    ],
)
def test_spellings_of_the_same_question_become_one(text: str, expected: str):
    assert normalize_for_match(text) == expected


@pytest.mark.parametrize("text", ["", "???", "😀👍", " \n\t", "…—!", "\u200b\x00"])
def test_a_text_without_readable_characters_becomes_empty(text: str):
    assert normalize_for_match(text) == ""


@given(st.text(st.characters(exclude_categories=["M", "C"])))
def test_normalizing_twice_changes_nothing_more(text: str):
    once = normalize_for_match(text)
    assert normalize_for_match(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", Script.SPACED),
        ("", Script.SPACED),
        ("Привет", Script.SPACED),
        ("你好", Script.CJK),
        ("app 打不开", Script.CJK),
        ("ありがとう", Script.CJK),
        ("안녕하세요", Script.CJK),
    ],
)
def test_one_chinese_japanese_or_korean_character_decides_the_script(text: str, expected: Script):
    assert script(text) is expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Where is it? And when?", ["Where is it?", "And when?"]),
        ("你好！退款呢？", ["你好！", "退款呢？"]),
        ("one\ntwo", ["one", "two"]),
        ("version 2.5 of it", ["version 2.5 of it"]),
        ("Hello!!! ???", ["Hello!!!"]),
        ("", []),
    ],
)
def test_a_text_is_split_where_sentences_end(text: str, parts: list[str]):
    assert sentences(text) == parts


def test_the_last_sentence_includes_the_rest():
    parts = sentences("a. " * 99)
    assert len(parts) == MOST_SENTENCES
    assert parts[-1].count("a") == 99 - MOST_SENTENCES + 1
