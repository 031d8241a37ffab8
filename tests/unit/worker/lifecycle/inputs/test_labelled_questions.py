from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SourceInvalid
from worker.lifecycle.inputs.labelled_questions import Labelled, QuestionScope, read_labelled

KNOWN = frozenset({"a", "b"})


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_labelled_questions_are_read(tmp_path: Path):
    file = write(
        tmp_path / "q.csv",
        '\ufeffkey,question,expected\r\n1,"What, now?",a\r\n2,two,a| b\r\n3,"over\ntwo lines",\r\n',
    )
    assert read_labelled(file, KNOWN) == [
        Labelled("What, now?", frozenset({"a"})),
        Labelled("two", KNOWN),
        Labelled("over\ntwo lines", frozenset()),
    ]


def test_the_scope_of_what_has_no_entry_is_read(tmp_path: Path):
    text = "scope,question,expected\nnear,one,\n far ,two,\n,three,\nfar,four,a\n,five,b\n"
    read = read_labelled(write(tmp_path / "q.csv", text), KNOWN)
    assert [row.scope for row in read] == [QuestionScope.NEAR, QuestionScope.FAR, None, None, None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("question,expected\n  ,a\n", "row 2: the question is blank"),
        ("question,expected\nx\n", "row 2: the column 'expected' is missing"),
        ('question,expected\n"x,a\n', "not CSV"),
        ("question,answer\nx,a\n", "no column named 'expected' (columns: question, answer)"),
        ("", "no column named 'question' (columns: none)"),
        ("question,expected\n", "the file has no questions"),
        (
            "question,expected,scope\nx,,near\ny,,Near\n",
            "row 3: scope is 'Near'; use near, far or an empty cell",
        ),
        ("question,expected,scope\nx,a,medium\n", "row 2: scope is 'medium'"),
    ],
)
def test_a_fault_is_reported_with_its_row(tmp_path: Path, text: str, problem: str):
    with pytest.raises(SourceInvalid) as caught:
        read_labelled(write(tmp_path / "q.csv", text), KNOWN)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_unknown_entry_is_named_with_its_first_row(tmp_path: Path):
    text = "question,expected\nx,a\ny,c\nz,e|a|d\nw,c\n"
    with pytest.raises(SourceInvalid, match="'c'") as caught:
        read_labelled(write(tmp_path / "q.csv", text), KNOWN)
    assert str(caught.value).endswith(
        "the model has no entry 'c' (row 3), 'd' (row 4), 'e' (row 4)"
    )


def test_of_very_many_unknown_entries_ten_are_named(tmp_path: Path):
    rows = "".join(f"question {n},entry-{n}\n" for n in range(12))
    with pytest.raises(SourceInvalid, match="entry-0") as caught:
        read_labelled(write(tmp_path / "q.csv", "question,expected\n" + rows), KNOWN)
    assert "'entry-9' (row 11) and 2 more" in str(caught.value)
    assert "entry-10" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("a", ""), ("", "a|b")])
def test_labels_that_no_answer_can_satisfy_are_refused(tmp_path: Path, first: str, second: str):
    text = f"question,expected\nWhat now?,{first}\nother,a\n What now? ,{second}\n"
    with pytest.raises(SourceInvalid, match=r"row 4: the question has other labels in row 2"):
        read_labelled(write(tmp_path / "q.csv", text), KNOWN)


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a|b"), ("", "")])
def test_a_question_may_come_twice_if_its_labels_agree(tmp_path: Path, first: str, second: str):
    text = f"question,expected\nWhat now?,{first}\nWhat now?,{second}\n"
    assert len(read_labelled(write(tmp_path / "q.csv", text), KNOWN)) == 2


def test_another_encoding_and_a_missing_file_are_refused(tmp_path: Path):
    latin = write(tmp_path / "q.csv", "question,expected\nGrüße,a\n", "latin-1")
    with pytest.raises(SourceInvalid, match="not UTF-8"):
        read_labelled(latin, KNOWN)
    with pytest.raises(SourceInvalid, match="No such file"):
        read_labelled(tmp_path / "nope.csv", KNOWN)
