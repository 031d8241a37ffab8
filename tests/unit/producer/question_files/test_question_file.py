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
    with question_file.opened(str(ref), **values) as found:
        checked = question_file.check(found)
        return checked, [question.text for question in checked.questions()]


def _fault(ref: Path | str, **values: object) -> str:
    with pytest.raises(SourceInvalid) as caught:
        _checked(ref, **values)
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    """Put these bytes on standard input."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("name", ["f.csv", "F.CSV", "f.q.csv"])
def test_the_suffix_tells_the_format(name, write):
    checked, texts = _checked(write(name, GOOD))
    assert texts == ["Where is my parcel?", "Hi"]
    assert (checked.count, checked.source.layout.format) == (2, FileFormat.CSV)


@pytest.mark.parametrize("name", ["f.txt", "f", "f.json"])
def test_without_a_known_suffix_the_format_must_be_given(name, write):
    path = write(name, GOOD)
    assert "give --format csv, tsv, jsonl or parquet" in _fault(path)
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
def test_standard_input_is_looked_at(content, form, stdin):
    stdin(content)
    checked, texts = _checked("-")
    assert texts[-1] == "Hi"
    assert checked.source.layout.format is form
    assert (checked.source.display_name, checked.source.stem) == ("standard input", "stdin")
    assert not checked.source.path.exists(), "the copy is gone at the end"


def test_a_closed_or_empty_standard_input_is_told(stdin, monkeypatch):
    stdin(b"")
    assert _fault("-") == "standard input: it is empty"
    monkeypatch.setattr(sys, "stdin", None)
    assert _fault("-") == "standard input: it is closed"


def test_a_pipe_is_read_once_and_copied():
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    checked, texts = _checked(f"/dev/fd/{reading}")
    os.close(reading)
    assert texts == ["Where is my parcel?", "Hi"]
    assert checked.source.copied


def test_a_wrong_column_lists_the_columns_there_are(write):
    path = write("f.csv", "id,body\n1,Hi\n")
    hint = "name the right one by --text or --key"
    assert _fault(path) == f"{path}: there is no column 'question' but id, body; {hint}"
    assert _checked(path, text="body", key="id")[1] == ["Hi"]


def test_a_column_that_is_nearly_right_is_hinted_at(write):
    path = write("f.csv", "Question,ticket\nHi,1\n")
    assert "did you mean 'Question'?" in _fault(path)
    assert "did you mean 'ticket'?" in _fault(path, text="Question", key="tickets")


def test_many_and_long_columns_are_cut(write):
    path = write("f.csv", ",".join(f"{n}{'x' * 50}" for n in range(20)) + "\n")
    told = _fault(path).removeprefix(str(path))
    assert "11xxx" in told
    assert "12xxx" not in told
    assert len(told) < 700


def test_two_columns_of_the_wanted_name_are_a_fault(write):
    told = _fault(write("f.csv", "question,question\na,b\n"))
    assert told.endswith("there are several columns 'question'")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n\n", "there are no questions in it"),
        (b"question\n", "there are no questions in it"),
        ("question\nHi\n".encode("utf-16"), "it is UTF-16; convert it by"),
        (
            "question\nHi\n".encode("utf-16-le"),
            "there is a NUL character in it; if the file is UTF",
        ),
    ],
)
def test_a_file_without_questions_or_in_utf16_is_a_fault(content, problem, write):
    assert problem in _fault(write("f.csv", content))


def test_what_is_missing_or_a_folder_or_no_path_is_told(tmp_path, write):
    missing = tmp_path / "no.csv"
    assert _fault(missing) == f"{missing}: no such file or directory"
    assert _fault(tmp_path) == f"{tmp_path}: is a directory"
    path = write("f.csv", GOOD) / "g.csv"
    assert _fault(path) == f"{path}: not a directory"


def test_an_unreadable_file_is_told(write):
    path = write("f.csv", GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads whatever the mode says
        os.chown(path.parent, 65534, 65534)
        os.seteuid(65534)
    try:
        told = _fault("f.csv")  # from the working folder: those above may be closed to others
    finally:
        os.seteuid(user)
    assert told == "f.csv: permission denied"


def test_duplicate_keys_are_told_with_both_rows(write):
    path = write("f.csv", "key,question\na,Hi\nb,Ho\na,Hu\n")
    assert _fault(path) == f"{path}, row 4: the key 'a' is in row 2 already"


def test_questions_behind_a_position_keep_their_positions(write):
    checked, _ = _checked(write("f.csv", GOOD))
    assert [question.position for question in checked.questions(behind=1)] == [2]


def test_the_digest_tells_content_and_columns_apart(write):
    def digest(content: str, **values: str) -> str:
        return _checked(write("f.csv", content), **values)[0].digest

    assert digest(GOOD) == digest(GOOD)
    assert digest(GOOD) != digest(GOOD.replace("Hi", "Ho"))
    both = "key,question,other\na,Hi,Ho\n"
    assert len({digest(both), digest(both, text="other"), digest(both, key="other")}) == 3


@pytest.mark.parametrize("how", ["grown", "same size", "replaced", "gone"])
def test_a_changed_file_is_known(how, write):
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
    with question_file.opened(str(path)) as found, pytest.raises(SourceInvalid) as caught:
        question_file.check(found, lambda _: write("f.csv", "question\n" + "Ho\n" * 10_000))
    assert str(caught.value) == f"{path}: it changed while it was read"
