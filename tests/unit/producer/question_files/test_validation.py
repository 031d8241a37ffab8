from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.question_files import validation


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_storable_text_can_be_a_question(text):
    assert validation.question_fault(text) is None


@pytest.mark.parametrize("text", ["", " ", "\n", "您是机器人吗？", "x" * 100_000, "👩‍👩‍👧"])
def test_blank_and_long_and_foreign_questions_are_accepted(text):
    assert validation.question_fault(text) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "the question is missing"),
        (3, "the question is a number, not text"),
        (1.5, "the question is a number, not text"),
        (True, "the question is true or false, not text"),
        ({}, "the question is an object, not text"),
        ([], "the question is of the type list, not text"),
        (
            "x" * 1_000_001,
            "the question has 1,000,001 characters, more than 1,000,000",
        ),
        (
            "a\0b",
            "the text contains a NUL character; if the file is UTF-16, convert it to UTF-8",
        ),
        ("\ud800", "the text contains half a character (a lone surrogate)"),
    ],
)
def test_an_invalid_question_is_reported(value, problem):
    assert validation.question_fault(value) == problem


def test_a_million_characters_are_accepted():
    assert validation.question_fault("x" * 1_000_000) is None


def test_a_byte_that_is_not_utf8_is_reported_with_a_command():
    problem = validation.storage_fault(b"Gr\xf6\xdfe".decode(errors="surrogateescape"))
    assert problem is not None
    assert problem.startswith("byte 0xf6 is not UTF-8; convert the file to UTF-8")


@pytest.mark.parametrize(
    ("value", "key"), [("a", "a"), (7, "7"), (1.5, "1.5"), ("键", "键"), ("k" * 500, "k" * 500)]
)
def test_text_and_numbers_are_keys(value, key):
    assert validation.key_of(value) == (key, None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "the key is missing"),
        ("", "the key is empty"),
        (False, "the key is true or false, not text"),
        ([1], "the key is of the type list, not text"),
        ("k" * 501, "the key has 501 characters, more than 500"),
        ("\ud800", "the text contains half a character (a lone surrogate)"),
    ],
)
def test_an_invalid_key_is_reported(value, problem):
    assert validation.key_of(value)[1] == problem


@pytest.mark.parametrize(
    ("language", "metadata", "problem"),
    [
        (None, None, None),
        ("de", {"queue": "returns", "tags": ["ä"]}, None),
        (7, None, "the language is a number, not text"),
        ("\ud800", None, "the text contains half a character (a lone surrogate)"),
        (None, {"a": {"b": "\ud800"}}, "the text contains half a character (a lone surrogate)"),
    ],
)
def test_language_and_metadata_are_checked_recursively(language, metadata, problem):
    assert validation.extras_fault(language, metadata) == problem
