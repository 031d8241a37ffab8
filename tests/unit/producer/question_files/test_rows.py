from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ExtraMissing, SourceInvalid
from producer.question_files import rows


def _csv(text: str, separator: str | None = None) -> list[tuple[int, list[str]]]:
    return list(rows.csv_rows(io.StringIO(text, newline=""), "f.csv", separator))


def _json(text: str) -> list[tuple[int, dict[str, object]]]:
    return list(rows.json_rows(io.StringIO(text, newline=""), "f.jsonl"))


def _fault(read, text: str) -> tuple[int | None, str]:
    with pytest.raises(SourceInvalid) as caught:
        read(text)
    return caught.value.row, caught.value.problem


def test_a_row_is_the_line_that_it_begins_in():
    text = 'key,question\na,"two\nlines"\n\nb,Hi\n'
    assert _csv(text) == [(1, ["key", "question"]), (2, ["a", "two\nlines"]), (5, ["b", "Hi"])]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_header_tells_the_separator(separator, end):
    text = end.join((f"key{separator}question", f"a{separator}Hi", ""))
    assert _csv(text) == [(1, ["key", "question"]), (2, ["a", "Hi"])]


def test_a_comma_in_the_header_goes_before_other_separators():
    assert _csv("key,a;b;c;d\n1,2\n")[0][1] == ["key", "a;b;c;d"]


def test_a_given_separator_is_not_looked_for():
    assert _csv("a,b\tc\n1\t2\n", "\t") == [(1, ["a,b", "c"]), (2, ["1", "2"])]


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ("a,b\n1,2\n1,2,3\n", 3, "there are 3 fields, the header has 2"),
        ("a,b\n1\n", 2, "there is 1 field, the header has 2"),
        ('a,b\n1,2\n3,"x\ny,z\n', 3, "a quotation mark is opened here and never closed"),
        ('a,b\n"1"2,3\n', 2, "broken CSV: ',' expected after '\"'"),
    ],
)
def test_broken_csv_is_told_with_the_row_it_begins_in(text, row, problem):
    assert _fault(_csv, text) == (row, problem)


def test_a_field_beyond_the_longest_question_hints_at_an_open_quotation():
    row, problem = _fault(_csv, f"a,b\n1,2\n3,{'x' * 1_000_001}\n")
    assert row == 3
    assert problem.startswith("a field has more than 1,000,000 characters; is a quotation mark")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_whatever_is_quoted_comes_back(texts):
    quoted = "".join('"' + text.replace('"', '""') + '",x\n' for text in texts)
    assert [fields[0] for _, fields in _csv("a,b\n" + quoted)[1:]] == texts


def test_blank_lines_of_json_are_passed_over_and_counted():
    assert _json('{"a": 1}\n\n  \n{"a": 2}') == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a":', "broken JSON: Expecting value at character 6"),
        ("nonsense", "broken JSON: Expecting value at character 1"),
        ('{"a": NaN}', "broken JSON: NaN is no JSON"),
        ("3", "the line holds no JSON object"),
        ("[]", "the line holds no JSON object; `jq -c '.[]'` converts an array"),
        ("\ud800", "there is half a character (a lone surrogate) in it"),
    ],
)
def test_a_broken_line_of_json_is_told_with_its_number(line, problem):
    assert _fault(_json, f'{{"a": 1}}\n{line}\n') == (2, problem)


def test_json_nested_without_end_is_broken_and_no_crash():
    row, problem = _fault(_json, '{"a":' + "[" * 200_000)
    assert row == 1
    assert problem.startswith("broken JSON: ")


def test_a_line_without_end_is_refused_and_not_read_whole():
    row, problem = _fault(_json, "x" * (17 << 20))
    assert (row, problem) == (1, "the line has 16,777,216 characters or more")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(ExtraMissing, match=r"pip install 'answermill\[parquet\]'"),
        rows.parquet(tmp_path / "q.parquet", "q.parquet"),
    ):
        pass
