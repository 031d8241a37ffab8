from __future__ import annotations

import pytest

from worker.text.language_id import language, languages


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Where is my parcel?", "en"),
        ("您是机器人吗", "zh"),
        ("請問客服電話是幾號", "zh"),  # by itself taken for Cantonese
        ("换个新密码怎么换", "zh"),  # and this for Wu
        ("où est ma commande", "fr"),
        ("мой заказ где", "ru"),
    ],
)
def test_languages_are_told_apart(text: str, code: str):
    assert language(text) == code


@pytest.mark.parametrize("text", ["refund pls", "thx", "ergo 6x3", "4711", "asdkjh qwe"])
def test_what_is_too_short_to_tell_is_not_guessed(text: str):
    assert language(text) is None


def test_a_language_of_a_stray_text_is_not_spoken():
    english = ["Where is my parcel?", "I want to cancel my order", "How do I pay for this?"]
    assert languages(english * 10 + ["où est ma commande"]) == {"en"}
    assert languages([*english, "où est ma commande"]) == {"en", "fr"}
    assert languages([]) == frozenset()
