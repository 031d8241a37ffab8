from __future__ import annotations

import pytest

from worker.text.language_id import language, languages


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Where is my parcel?", "en"),
        ("您是机器人吗", "zh"),
        ("請問客服電話是幾號", "zh"),  # py3langid alone returns Cantonese
        ("换个新密码怎么换", "zh"),  # py3langid alone returns Wu
        ("où est ma commande", "fr"),
        ("мой заказ где", "ru"),
    ],
)
def test_languages_are_identified(text: str, code: str):
    assert language(text) == code


@pytest.mark.parametrize("text", ["refund pls", "thx", "ergo 6x3", "4711", "asdkjh qwe"])
def test_a_text_too_short_to_identify_has_no_language(text: str):
    assert language(text) is None


def test_a_language_of_a_single_text_among_many_is_ignored():
    english = ["Where is my parcel?", "I want to cancel my order", "How do I pay for this?"]
    assert languages(english * 10 + ["où est ma commande"]) == {"en"}
    assert languages([*english, "où est ma commande"]) == {"en", "fr"}
    assert languages([]) == frozenset()
