from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SourceInvalid
from producer.question_files.duplicate_keys import refuse_duplicates
from tests.factories import question


def _found(keys):
    return [(row, question(row - 1, key=key)) for row, key in enumerate(keys, 2)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_different_keys_pass_in_their_order(keys):
    found = _found(keys)
    assert list(refuse_duplicates(found, "f.csv")) == found


@pytest.mark.parametrize(
    ("first", "second"), [(0, 1), (0, 9_999), (0, 10_000), (9_999, 10_000), (5, 25_000)]
)
def test_a_key_that_comes_twice_is_told_with_both_rows(first, second):
    keys = [f"k{n}" for n in range(25_001)]
    keys[second] = keys[first]
    with pytest.raises(SourceInvalid) as caught:
        list(refuse_duplicates(_found(keys), "f.csv"))
    told = f"f.csv, row {second + 2}: the key 'k{first}' is in row {first + 2} already"
    assert str(caught.value) == told


def test_keys_differ_by_case_and_blanks():
    found = _found(["a", "A", " a", "a "])
    assert list(refuse_duplicates(found, "f.csv")) == found


def test_a_long_key_is_told_cut():
    with pytest.raises(SourceInvalid) as caught:
        list(refuse_duplicates(_found(["k" * 500] * 2), "f.csv"))
    assert f"the key '{'k' * 60}…' is in row 2" in str(caught.value)
