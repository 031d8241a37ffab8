"""Readers of question files; `test_question_file` covers opening a file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import write_table

from core.domain.batch import Question
from core.errors import SourceInvalid
from producer.question_files import formats
from producer.question_files.formats import FileFormat, Layout
from tests.services import short_folder

KEYED = {"text": "question", "key": "key", "language": None}
QUESTIONS = [("a", "Where is my parcel?"), ("b", "您是机器人吗？"), ("c", "  "), ("d", 'a "b", c')]
STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def _read(path: Path, form: FileFormat, **values: str | None) -> list[tuple[int, Question]]:
    layout = Layout(form, **{**KEYED, **values})
    return list(formats.questions(path, path.name, layout))


def _fault(path: Path, form: FileFormat, **values: str | None) -> str:
    with pytest.raises(SourceInvalid) as caught:
        _read(path, form, **values)
    return str(caught.value)


def _written(
    folder: Path, form: FileFormat, pairs: list[tuple[str, str]], key_name: str = "key"
) -> Path:
    path = folder / f"f.{form}"
    if form is FileFormat.PARQUET:
        keys, texts = ([pair[n] for pair in pairs] for n in (0, 1))
        write_table(pa.table({key_name: pa.array(keys), "question": pa.array(texts)}), path)
        return path
    if form is FileFormat.JSONL:
        lines = [json.dumps({key_name: key, "question": text}) for key, text in pairs]
    else:
        separator = form.separator or ","
        quoted = [[f'"{part.replace(chr(34), chr(34) * 2)}"' for part in pair] for pair in pairs]
        lines = [separator.join(pair) for pair in [[key_name, "question"], *quoted]]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


@pytest.mark.parametrize("form", FileFormat)
def test_every_format_yields_the_same_questions(form, tmp_path):
    path = _written(tmp_path, form, QUESTIONS)
    assert set(formats.columns(path, "f", form)) == {"key", "question"}
    rows = _read(path, form)
    first = 2 if form in (FileFormat.CSV, FileFormat.TSV) else 1
    assert [row for row, _ in rows] == list(range(first, first + 4))
    assert [question for _, question in rows] == [
        Question(position, key, text) for position, (key, text) in enumerate(QUESTIONS, 1)
    ]


@pytest.mark.parametrize("form", FileFormat)
@given(texts=st.lists(STORABLE, min_size=1))
def test_every_format_keeps_every_character(form, texts):
    pairs = [(f"k{n}", text) for n, text in enumerate(texts)]
    with short_folder() as folder:
        rows = _read(_written(folder, form, pairs), form)
    assert [(question.key, question.text) for _, question in rows] == pairs


@pytest.mark.parametrize("form", FileFormat)
def test_without_a_key_the_position_is_the_key(form, tmp_path):
    rows = _read(_written(tmp_path, form, QUESTIONS, "id"), form, key=None)
    assert [question.key for _, question in rows] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("form", FileFormat)
def test_a_fault_in_a_value_is_reported_with_its_row(form, tmp_path):
    path = _written(tmp_path, form, [("a", "Hi"), ("", "Ho")])
    row = 3 if form in (FileFormat.CSV, FileFormat.TSV) else 2
    assert _fault(path, form) == f"f.{form}, row {row}: the key is empty"


@pytest.mark.parametrize("form", [FileFormat.CSV, FileFormat.JSONL])
@pytest.mark.parametrize("encoding", ["latin-1", "gb18030"])
def test_another_encoding_is_reported_with_its_row(form, encoding, tmp_path):
    path = _written(tmp_path, form, [("a", "Hi")])
    text = {"latin-1": "Größe?", "gb18030": "您是机器人吗？"}[encoding]
    with path.open("ab") as file:
        file.write(f'"b","{text}"\n'.encode(encoding))
    row = 3 if form is FileFormat.CSV else 2
    byte = {"latin-1": "f6", "gb18030": "c4"}[encoding]
    message = f"f.{form}, row {row}: byte 0x{byte} is not UTF-8; convert the file to UTF-8"
    assert _fault(path, form).startswith(message)


def test_a_byte_order_mark_is_skipped(write):
    path = write("f.csv", b"\xef\xbb\xbfkey,question\na,Hi\n")
    assert formats.columns(path, "f", FileFormat.CSV) == ["key", "question"]
    assert _read(path, FileFormat.CSV) == [(2, Question(1, "a", "Hi"))]


def test_language_and_metadata_are_read(write):
    line = {"key": 7, "question": "Hi", "language": "de", "metadata": {"queue": "q"}, "x": 1}
    path = write("f.jsonl", json.dumps(line))
    assert _read(path, FileFormat.JSONL) == [(1, Question(1, "7", "Hi", "de", {"queue": "q"}))]
    path = write("f.csv", "question,language\nHi,de\nHo,\n")
    rows = _read(path, FileFormat.CSV, key=None, language="language")
    assert [question.language for _, question in rows] == ["de", None]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"key": "b"}', "the question is missing"),
        ('{"key": "b", "question": null}', "the question is missing"),
        ('{"question": "Hi"}', "the key is missing"),
        ('{"key": "b", "question": "\\ud800"}', "the text contains half a character"),
    ],
)
def test_an_incomplete_json_line_is_reported(line, problem, write):
    path = write("f.jsonl", '{"key": "a", "question": "Hi"}\n' + line + "\n")
    assert f"f.jsonl, row 2: {problem}" in _fault(path, FileFormat.JSONL)


def test_a_key_that_only_some_lines_have_is_a_fault(write):
    path = write("f.jsonl", '{"question": "Hi"}\n{"question": "Ho", "key": "b"}\n')
    message = _fault(path, FileFormat.JSONL, key=None)
    assert message == "f.jsonl, row 2: the row has a key, but the first row has none"


def test_parquet_faults_name_the_row(tmp_path):
    path = tmp_path / "f.parquet"
    texts = ["Hi"] * 300
    write_table(pa.table({"question": pa.array([*texts, None])}), path)
    message = _fault(path, FileFormat.PARQUET, key=None)
    assert message == "f.parquet, row 301: the question is missing"
    write_table(pa.table({"question": [1]}), path)
    message = _fault(path, FileFormat.PARQUET, key=None)
    assert message == "f.parquet, row 1: the question is a number, not text"


def test_invalid_parquet_is_reported_on_one_line(write, tmp_path):
    for content in (
        b"PAR1 no",
        _written(tmp_path, FileFormat.PARQUET, QUESTIONS).read_bytes()[:-9],
    ):
        path = write("g.parquet", content)
        message = _fault(path, FileFormat.PARQUET)
        assert message.startswith("g.parquet: invalid Parquet: ")
        assert "\n" not in message


def test_rows_are_read_only_on_demand(write):
    path = write("f.csv", "question\n" + "Hi\n" * 10_000 + '"open\n')
    layout = Layout(FileFormat.CSV, "question", None, None)
    questions = formats.questions(path, "f.csv", layout)
    assert next(questions)[1] == Question(1, "1", "Hi")
