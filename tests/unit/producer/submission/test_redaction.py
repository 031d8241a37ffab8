"""Redaction of English and Chinese questions: removed and unchanged texts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsInvalid
from core.settings import load
from core.settings.value_parsers import RedactionKind
from producer.submission.redaction import luhn, redact, redact_all, redactor
from tests.factories import question

ALL = frozenset(RedactionKind)
DIGITS = "0123456789"
AROUND = st.sampled_from(
    [
        ("", ""),
        ("Call ", ", please."),
        ("我的是", "，谢谢"),
        ("（", "）"),
        ("号码：", "。请回复"),
        ("<", ">"),
    ]
)

EMAILS = [
    "jane@example.com",
    "jane.o'neil+shop@mail.example.co.uk",
    "zhang_wei-88@qq.com",
    "ｚｈａｎｇ＠ｑｑ．ｃｏｍ",
    "jürgen@müller.de",
    ".dot@x-y.org",
]
PHONES = [
    "+1 (415) 555-2671",
    "415-555-2671",
    "(415) 555-2671",
    "1-800-555-0199",
    "415.555.2671",
    "+44 20 7946 0958",
    "020 7946 0958",
    "07911 123456",
    "0044 20 7946 0958",
    "13812345678",
    "138 1234 5678",
    "138-1234-5678",
    "+86 138 1234 5678",
    "+8613812345678",
    "86-13812345678",
    "010-88888888",
    "(010) 8888 8888",
    "（０１０）８８８８８８８８",
    "0755-8888888",
    "400-800-8888",
    "400-8008-888",
    "１３８１２３４５６７８",
]
CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500 0055 5555 5559",
    "3782 822463 10005",
    "6222 0212 3456 7890 128",
    "４１１１　１１１１　１１１１　１１１１",
]
KEPT = [
    "Where is order 2024-0115 of 2024-01-15 10:30:00?",
    "It cost 1,299.00 for 2 of 100.",
    "订单号20240115003299876请查询",
    "My IP is 192.168.100.100.",
    "4111 1111 1111 1112",
    "order 1000000007",
    "@team see a@b",
    "邮政编码 100080",
    "I paid 13800 yuan on 11.11",
]


@given(st.sampled_from(EMAILS), AROUND)
def test_addresses_are_redacted(email, around):
    assert redact(email.join(around), ALL) == "[email]".join(around)


@given(st.sampled_from(PHONES), AROUND)
def test_phone_numbers_are_redacted(phone, around):
    assert redact(phone.join(around), ALL) == "[phone]".join(around)


@given(st.sampled_from(CARDS), AROUND)
def test_card_numbers_are_redacted(card, around):
    assert redact(card.join(around), ALL) == "[card]".join(around)


@pytest.mark.parametrize("text", KEPT)
def test_other_numbers_stay(text):
    assert redact(text, ALL) == text


def with_check_digit(payload: str) -> str:
    return next(payload + digit for digit in DIGITS if luhn(payload + digit))


@given(
    st.sampled_from(["3", "4", "5", "6", "22", "81", "9558"]),
    st.text(DIGITS, min_size=11, max_size=14),
    st.sampled_from(["", " ", "-"]),
    st.integers(3, 5),
    AROUND,
)
def test_any_number_with_a_check_digit_is_a_card(start, rest, separator, width, around):
    number = with_check_digit(start + rest)
    groups = [number[i : i + width] for i in range(0, len(number), width)]
    redacted = redact(separator.join(groups).join(around), frozenset({RedactionKind.CARD}))
    assert redacted == "[card]".join(around)


@given(st.text(DIGITS, min_size=13, max_size=19).filter(lambda text: not luhn(text)))
def test_a_number_without_a_check_digit_is_not_a_card(number):
    assert redact(number, frozenset({RedactionKind.CARD})) == number


@given(
    st.text(DIGITS, min_size=9, max_size=9),
    st.sampled_from("3456789"),
    st.sampled_from(" -.") | st.just(""),
)
def test_any_mobile_number_of_china_is_redacted(rest, second, mark):
    number = f"1{second}{rest[0]}{mark}{rest[1:5]}{mark}{rest[5:]}"
    assert redact(f"请打{number}给我", frozenset({RedactionKind.PHONE})) == "请打[phone]给我"


PIECES = st.lists(
    st.text(max_size=8)
    | st.sampled_from([*EMAILS, *PHONES, *CARDS, *KEPT, " ", "，", "+", "00", "@"])
).map("".join)


@given(PIECES)
def test_a_redacted_text_is_not_redacted_again(text):
    redacted = redact(text, ALL)
    assert redact(redacted, ALL) == redacted


@given(st.text(st.characters(exclude_categories=["Nd"], exclude_characters="@＠")))
def test_a_text_without_digits_and_at_signs_stays(text):
    assert redact(text, ALL) == text


@pytest.mark.parametrize(
    "unit", ["+1 ", "a", "a@", "a@b.", "1 ", "1-", "(0", "a@b.c'", "+1111111111111111", "00"]
)
def test_no_text_takes_long(unit):
    redact(unit * (1_000_000 // len(unit)), ALL)  # a pattern that backtracks would not return


def test_only_the_chosen_kinds_are_redacted():
    text = "jane@example.com, 13812345678"
    assert redact(text, frozenset({RedactionKind.PHONE})) == "jane@example.com, [phone]"
    assert redactor(frozenset()) is None


def test_metadata_is_redacted_and_keys_stay():
    redact_question = redactor(ALL)
    original = question(
        key="13812345678", text="at jane@example.com", metadata={"a": ["13812345678", 1]}
    )
    redacted = redact_question(original)
    assert (redacted.key, redacted.text, redacted.metadata) == (
        "13812345678",
        "at [email]",
        {"a": ["[phone]", 1]},
    )
    assert redact_all({"jane@example.com": None}, ALL) == {"jane@example.com": None}


def test_the_setting_names_kinds():
    assert load.load(redact="email, card").redacted == {RedactionKind.EMAIL, RedactionKind.CARD}
    assert load.load().redacted == frozenset()
    with pytest.raises(
        SettingsInvalid, match="ANSWERMILL_REDACT: 'mail' is not one of email, phone, card"
    ):
        load.load(redact="mail")


def test_only_one_module_inserts_questions():
    """Any other module than `producer.submission.insert` would bypass redaction."""
    for path in (Path(__file__).parents[4] / "producer").rglob("*.py"):
        calls = [
            node.func
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        stores = [
            call
            for call in calls
            if isinstance(call, ast.Attribute)
            and (call.attr, getattr(call.value, "id", None))
            in {("append", "question_rows"), ("insert_many", "dialect")}
        ]
        assert bool(stores) is (path.name == "insert.py"), path
