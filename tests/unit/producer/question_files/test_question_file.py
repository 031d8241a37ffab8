from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from core.errors import SourceInvalid
from producer.question_files import question_file
from producer.question_files.formats import FileFormat

GOOD = "key,question\na,Where is my parcel?\nb,Hi\n"


def _checked(ref: Path | str, **values: object) -> tuple[question_file.CheckedFile, list[str]]:
    with question_file.opened(str(ref), **values) as source:
        checked = question_file.check(source)
        return checked, [question.text for question in checked.questions()]


def _fault(ref: Path | str, **values: object) -> str:
    with pytest.raises(SourceInvalid) as caught:
        _checked(ref, **values)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    """Put these bytes on standard input."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("name", ["f.csv", "F.CSV", "f.q.csv"])
def test_the_suffix_determines_the_format(name, write):
    checked, texts = _checked(write(name, GOOD))
    assert texts == ["Where is my parcel?", "Hi"]
    assert (checked.count, checked.source.layout.format) == (2, FileFormat.CSV)


@pytest.mark.parametrize("name", ["f.txt", "f", "f.json"])
def test_without_a_known_suffix_the_format_must_be_given(name, write):
    path = write(name, GOOD)
    assert "choose one with --format csv, tsv, jsonl or parquet" in _fault(path)
    assert _checked(path, file_format=FileFormat.CSV)[1] == ["Where is my parcel?", "Hi"]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (GOOD.encode(), FileFormat.CSV),
        (b"\xef\xbb\xbf" + GOOD.encode(), FileFormat.CSV),
        (b'{"question": "Hi"}\n', FileFormat.JSONL),
        (b'\xef\xbb\xbf\n {"question": "Hi"}\n', FileFormat.JSONL),
    ],
)
def test_the_format_of_standard_input_is_detected(content, form, stdin):
    stdin(content)
    checked, texts = _checked("-")
    assert texts[-1] == "Hi"
    assert checked.source.layout.format is form
    assert (checked.source.display_name, checked.source.stem) == ("standard input", "stdin")
    assert not checked.source.path.exists(), "the copy is gone at the end"


def test_a_closed_or_empty_standard_input_is_reported(stdin, monkeypatch):
    stdin(b"")
    assert _fault("-") == "standard input: the file is empty"
    monkeypatch.setattr(sys, "stdin", None)
    assert _fault("-") == "standard input: the stream is closed"


def test_a_pipe_is_read_once_and_copied():
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    checked, texts = _checked(f"/dev/fd/{reading}")
    os.close(reading)
    assert texts == ["Where is my parcel?", "Hi"]
    assert checked.source.copied


def test_an_unknown_column_lists_the_columns(write):
    path = write("f.csv", "id,body\n1,Hi\n")
    problem = "no column named 'question' (columns: id, body)"
    hint = "Choose the question column with --text COLUMN."
    assert _fault(path) == f"{path}: {problem}. {hint}"
    assert _checked(path, text="body", key="id")[1] == ["Hi"]


def test_a_similar_column_is_suggested(write):
    path = write("f.csv", "Question,ticket\nHi,1\n")
    assert "Did you mean 'Question'?" in _fault(path)
    assert "Did you mean 'ticket'?" in _fault(path, text="Question", key="tickets")


def test_long_lists_of_columns_are_shortened(write):
    path = write("f.csv", ",".join(f"{n}{'x' * 50}" for n in range(20)) + "\n")
    message = _fault(path).removeprefix(str(path))
    assert "11xxx" in message
    assert "12xxx" not in message
    assert len(message) < 700


def test_two_columns_of_the_same_name_are_a_fault(write):
    message = _fault(write("f.csv", "question,question\na,b\n"))
    assert message.endswith("several columns have the name 'question'; rename all but one")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file contains no questions"),
        (b"question\n", "the file contains no questions"),
        ("question\nHi\n".encode("utf-16"), "the file is UTF-16; convert it with"),
        (
            "question\nHi\n".encode("utf-16-le"),
            "the text contains a NUL character; if the file is UTF",
        ),
    ],
)
def test_a_file_without_questions_or_in_utf16_is_a_fault(content, problem, write):
    assert problem in _fault(write("f.csv", content))


def test_an_unreadable_path_is_reported(tmp_path, write):
    missing = tmp_path / "no.csv"
    assert _fault(missing) == f"{missing}: no such file or directory"
    assert _fault(tmp_path) == f"{tmp_path}: is a directory"
    path = write("f.csv", GOOD) / "g.csv"
    assert _fault(path) == f"{path}: not a directory"


def test_an_unreadable_file_is_reported(write):
    path = write("f.csv", GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root ignores the mode
        os.chown(path.parent, 65534, 65534)
        os.seteuid(65534)
    try:
        message = _fault("f.csv")  # relative: other users may not enter the parent folders
    finally:
        os.seteuid(user)
    assert message == "f.csv: permission denied"


def test_duplicate_keys_are_reported_with_both_rows(write):
    path = write("f.csv", "key,question\na,Hi\nb,Ho\na,Hu\n")
    assert _fault(path) == f"{path}, row 4: the key 'a' is already in row 2"


def test_questions_after_a_position_keep_their_positions(write):
    checked, _ = _checked(write("f.csv", GOOD))
    assert [question.position for question in checked.questions(after=1)] == [2]


def test_the_digest_depends_on_content_and_columns(write):
    def digest(content: str, **values: str) -> str:
        return _checked(write("f.csv", content), **values)[0].digest

    assert digest(GOOD) == digest(GOOD)
    assert digest(GOOD) != digest(GOOD.replace("Hi", "Ho"))
    both = "key,question,other\na,Hi,Ho\n"
    assert len({digest(both), digest(both, text="other"), digest(both, key="other")}) == 3


@pytest.mark.parametrize("how", ["grown", "same size", "replaced", "gone"])
def test_a_changed_file_is_detected(how, write):
    path = write("f.csv", GOOD)
    checked, _ = _checked(path)
    assert not checked.changed
    if how == "gone":
        path.unlink()
    elif how == "replaced":
        stamp = path.stat()
        write("g.csv", GOOD).replace(path)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    else:
        write("f.csv", GOOD + "c,Ho\n" if how == "grown" else GOOD.replace("Hi", "Ho"))
    assert checked.changed


def test_a_file_that_changes_while_it_is_checked_is_a_fault(write):
    path = write("f.csv", "question\n" + "Hi\n" * 10_000)
    with question_file.opened(str(path)) as source, pytest.raises(SourceInvalid) as caught:
        question_file.check(source, lambda _: write("f.csv", "question\n" + "Ho\n" * 10_000))
    assert str(caught.value) == f"{path}: the file changed while it was read"
