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


def test_a_row_is_the_line_where_it_begins():
    text = 'key,question\na,"two\nlines"\n\nb,Hi\n'
    assert _csv(text) == [(1, ["key", "question"]), (2, ["a", "two\nlines"]), (5, ["b", "Hi"])]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_header_determines_the_separator(separator, end):
    text = end.join((f"key{separator}question", f"a{separator}Hi", ""))
    assert _csv(text) == [(1, ["key", "question"]), (2, ["a", "Hi"])]


def test_a_comma_in_the_header_has_priority():
    assert _csv("key,a;b;c;d\n1,2\n")[0][1] == ["key", "a;b;c;d"]


def test_a_given_separator_is_used():
    assert _csv("a,b\tc\n1\t2\n", "\t") == [(1, ["a,b", "c"]), (2, ["1", "2"])]


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ("a,b\n1,2\n1,2,3\n", 3, "the row has 3 fields, the header has 2"),
        ("a,b\n1\n", 2, "the row has 1 field, the header has 2"),
        ('a,b\n1,2\n3,"x\ny,z\n', 3, "a quotation mark opens here and is never closed"),
        ('a,b\n"1"2,3\n', 2, "invalid CSV: ',' expected after '\"'"),
    ],
)
def test_invalid_csv_is_reported_with_its_first_row(text, row, problem):
    assert _fault(_csv, text) == (row, problem)


def test_a_field_beyond_the_longest_question_suggests_an_unclosed_quotation():
    row, problem = _fault(_csv, f"a,b\n1,2\n3,{'x' * 1_000_001}\n")
    assert row == 3
    assert problem.startswith(
        "a field has more than 1,000,000 characters; check for a quotation mark"
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_quoted_fields_are_read_unchanged(texts):
    quoted = "".join('"' + text.replace('"', '""') + '",x\n' for text in texts)
    assert [fields[0] for _, fields in _csv("a,b\n" + quoted)[1:]] == texts


def test_blank_lines_of_json_are_skipped_and_counted():
    assert _json('{"a": 1}\n\n  \n{"a": 2}') == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a":', "invalid JSON: Expecting value at character 6"),
        ("nonsense", "invalid JSON: Expecting value at character 1"),
        ('{"a": NaN}', "invalid JSON: NaN is not JSON"),
        ("3", "the line is not a JSON object"),
        ("[]", "the line is not a JSON object; convert an array with `jq -c '.[]'`"),
        ("\ud800", "the text contains half a character (a lone surrogate)"),
    ],
)
def test_an_invalid_line_of_json_is_reported_with_its_number(line, problem):
    assert _fault(_json, f'{{"a": 1}}\n{line}\n') == (2, problem)


def test_deeply_nested_json_is_invalid():
    row, problem = _fault(_json, '{"a":' + "[" * 200_000)
    assert row == 1
    assert problem.startswith("invalid JSON: ")


@pytest.mark.costly
def test_an_endless_line_is_refused_early():
    row, problem = _fault(_json, "x" * (17 << 20))
    assert (row, problem) == (1, "the line has 16,777,216 characters or more")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(ExtraMissing, match=r"pip install 'answermill\[parquet\]'"),
        rows.open_parquet(tmp_path / "q.parquet", "q.parquet"),
    ):
        pass
