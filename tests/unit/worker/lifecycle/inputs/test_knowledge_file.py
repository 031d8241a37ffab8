from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import KnowledgeInvalid
from worker.lifecycle.inputs.knowledge_file import read_knowledge, shared_phrasings
from worker.model.bundle.bundle import Entry

GOOD = {"id": "refund", "answer": "Within 14 days.", "questions": ["Where is my refund?"]}


def line(**changes: object) -> str:
    return json.dumps(GOOD | changes, ensure_ascii=False)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kb.jsonl"


def test_every_field_is_read(file: Path):
    write(file, line(language="en", tags=["money"], url="https://example.com"))
    questions = ["Where is my refund?"]
    assert read_knowledge(file) == [
        Entry("refund", "Within 14 days.", questions, "en", ["money"], "https://example.com")
    ]


def test_windows_files_and_blank_lines_are_fine(file: Path):
    file.write_bytes(b"\xef\xbb\xbf" + line().encode() + b"\r\n\r\n" + line(id="b").encode())
    assert [entry.id for entry in read_knowledge(file)] == ["refund", "b"]


def test_a_null_is_as_good_as_leaving_the_field_out(file: Path):
    write(file, line(language=None, tags=None, url=None))
    assert read_knowledge(file) == [Entry(**GOOD)]


def test_a_phrasing_twice_in_one_entry_is_kept_once(file: Path):
    write(file, line(questions=["a", " a ", "b"]))
    assert read_knowledge(file)[0].questions == ["a", "b"]


def test_line_separators_inside_a_text_end_no_line(file: Path):
    write(file, line(answer="one\u2028two\u0085three"), line(id="b"))
    assert len(read_knowledge(file)) == 2


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("[" * 100_000, "nested too deep"),
        (line(question=["x"]), "unknown field 'question'; did you mean 'questions'?"),
        (line(weight="red"), "unknown field 'weight'; the fields are id, answer"),
        ('{"id": "b", "id": "c"}', "the field 'id' appears twice"),
        (line(id="refund"), "the id 'refund' is on line 1 already"),
        (line(id=" "), "'id' is blank"),
        (line(id=7), "'id' must be a text, not a number"),
        (line(id="b", answer=""), "'answer' is blank"),
        (line(id="b", answer=["x"]), "'answer' must be a text, not a list"),
        (line(id="b", questions=[]), "'questions' is empty"),
        (line(id="b", questions="x"), "'questions' must be a list of texts, not a text"),
        (line(id="b", questions=["x", " "]), "'questions[1]' is blank"),
        (line(id="b", questions=["x", None]), "'questions[1]' must be a text, not null"),
        (line(id="b", tags="x"), "'tags' must be a list of texts"),
        (line(id="b", language=True), "'language' must be a text, not true or false"),
        (line(id="b", url={}), "'url' must be a text, not an object"),
        ('{"answer": "x", "questions": ["x"]}', "the field 'id' is missing"),
        ('{"id": "b", "questions": ["x"]}', "the field 'answer' is missing"),
        ('{"id": "b", "answer": "x"}', "the field 'questions' is missing"),
        ('{"id": "\\ud83d", "answer": "x", "questions": ["x"]}', "half of a surrogate pair"),
    ],
)
def test_a_fault_is_reported_in_one_line_with_its_place(file: Path, second: str, problem: str):
    write(file, line(), second)
    with pytest.raises(KnowledgeInvalid) as caught:
        read_knowledge(file)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_reported_with_its_line(file: Path):
    file.write_bytes(line().encode() + b"\n" + line(answer="Grüße").encode("latin-1"))
    with pytest.raises(KnowledgeInvalid, match=r"line 2: not UTF-8 \(byte \d+\)"):
        read_knowledge(file)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(file: Path, content: str):
    write(file, content)
    with pytest.raises(KnowledgeInvalid, match="the file has no entries"):
        read_knowledge(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(KnowledgeInvalid, match="No such file"):
        read_knowledge(tmp_path / "nope.jsonl")
    with pytest.raises(KnowledgeInvalid, match="Is a directory"):
        read_knowledge(tmp_path)


def test_a_phrasing_of_two_entries_is_found_whatever_its_spelling():
    entries = [Entry("a", "A", ["Hello!", "hi"]), Entry("b", "B", ["hello", "👍"])]
    assert shared_phrasings(entries) == [("hello", "a", "b")]
    assert shared_phrasings([*entries, Entry("c", "C", ["👍", "👎"])])[1:] == [("👍", "b", "c")]
