from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SourceInvalid
from producer.question_files.duplicate_keys import refuse_duplicates
from tests.factories import question


def _rows(keys):
    return [(row, question(row - 1, key=key)) for row, key in enumerate(keys, 2)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_different_keys_pass_in_their_order(keys):
    rows = _rows(keys)
    assert list(refuse_duplicates(rows, "f.csv")) == rows


@pytest.mark.parametrize(
    ("first", "second"), [(0, 1), (0, 9_999), (0, 10_000), (9_999, 10_000), (5, 25_000)]
)
def test_a_duplicate_key_is_reported_with_both_rows(first, second):
    keys = [f"k{n}" for n in range(25_001)]
    keys[second] = keys[first]
    with pytest.raises(SourceInvalid) as caught:
        list(refuse_duplicates(_rows(keys), "f.csv"))
    expected = f"f.csv, row {second + 2}: the key 'k{first}' is already in row {first + 2}"
    assert str(caught.value) == expected


def test_keys_differ_by_case_and_blanks():
    rows = _rows(["a", "A", " a", "a "])
    assert list(refuse_duplicates(rows, "f.csv")) == rows


def test_a_long_key_is_shortened():
    with pytest.raises(SourceInvalid) as caught:
        list(refuse_duplicates(_rows(["k" * 500] * 2), "f.csv"))
    assert f"the key '{'k' * 60}…' is already in row 2" in str(caught.value)
