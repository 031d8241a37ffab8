"""Any file is read, or refused in one line that states where.

Nothing else happens, whatever is in it.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import AnswermillError, BundleInvalid, KnowledgeInvalid, SourceInvalid
from producer.openai.jsonl import requests
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import check, opened
from worker.lifecycle.inputs.knowledge_file import read_knowledge
from worker.lifecycle.inputs.labelled_questions import is_labelled, read_labelled, read_rows
from worker.model.bundle import bundle
from worker.model.bundle.bundle import MANIFEST, Manifest, open_bundle, read_manifest

# What text files break on: quotes, ends of lines of every kind, NULs, byte order marks, halves
# of characters, other encodings, and what JSON has.
PIECES = st.sampled_from(
    [
        *(b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\\", b"\x1a"),
        *(
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xfe\xff",
            b"\x85",
            b"\xe2\x80\xa8",
            b"\xc3",
            b"\xed\xa0\x80",
        ),
        *(
            b"question",
            b"key",
            b"expected",
            b"scope",
            b"language",
            b"metadata",
            b"a" * 600,
            b"PAR1",
        ),
        *(b"{", b"}", b"[", b"]", b":", b'{"question": "a"}\n', b'{"question":', b"null", b"true"),
        *(b"1e999", b"NaN", b"-", b"1" * 5_000, b'"\\ud800"', b'"\\u0000"', b"[" * 2_000),
        *("你好".encode("gb18030"), "你好".encode(), "😀".encode(), b"\xf4\x90"),
    ]
)
CONTENT = st.lists(PIECES | st.binary(max_size=6), max_size=20).map(b"".join)
HEADS = st.sampled_from(
    [b"", b"question\n", b"key,question\n", b"question;key\r\n", b"\xef\xbb\xbf"]
)
FILES = st.tuples(HEADS, CONTENT).map(b"".join)

quick = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def _told_in_one_line(error: AnswermillError) -> None:
    assert len(str(error).splitlines()) == 1, str(error)
    assert len(str(error)) < 1_000


def _read(path: Path, form: FileFormat) -> int | None:
    try:
        with opened(str(path), file_format=form) as source:
            checked = check(source)
            questions = list(checked.questions())
    except SourceInvalid as error:
        _told_in_one_line(error)
        return None
    assert len(questions) == checked.count
    assert [one.position for one in questions] == list(range(1, checked.count + 1))
    for one in questions:
        (one.key + one.text + (one.language or "")).encode()  # can be stored
        assert "\0" not in one.key + one.text
    return checked.count


@pytest.mark.parametrize("form", [FileFormat.CSV, FileFormat.TSV, FileFormat.JSONL])
@quick
@given(content=FILES)
def test_a_text_file_is_read_or_refused(form, content, tmp_path):
    path = tmp_path / "asked"
    path.write_bytes(content)
    _read(path, form)


@quick
@given(content=FILES)
def test_standard_input_is_read_or_refused(content, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    try:
        with opened("-") as source:
            assert check(source).count > 0
    except SourceInvalid as error:
        _told_in_one_line(error)


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from('",;\t\r\n\u2028\x85'),
    max_size=20,
)
KEYS = TEXTS.filter(bool)


@quick
@given(
    rows=st.lists(st.tuples(KEYS, TEXTS), min_size=1, max_size=6, unique_by=lambda row: row[0]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_csv_can_hold_comes_out_as_it_went_in(rows, end, tmp_path):
    path = tmp_path / "asked.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([("key", "question"), *rows])
    with opened(str(path)) as source:
        assert [(one.key, one.text) for one in check(source).questions()] == rows


@quick
@given(
    rows=st.lists(st.tuples(KEYS, TEXTS), min_size=1, max_size=6, unique_by=lambda row: row[0]),
    ascii_only=st.booleans(),
)
def test_what_json_can_hold_comes_out_as_it_went_in(rows, ascii_only, tmp_path):
    path = tmp_path / "asked.jsonl"
    lines = [
        json.dumps({"key": key, "question": text}, ensure_ascii=ascii_only) for key, text in rows
    ]
    path.write_bytes("\n".join(lines).encode())
    with opened(str(path)) as source:
        assert [(one.key, one.text) for one in check(source).questions()] == rows


@pytest.fixture(scope="module")
def parquet() -> bytes:
    table = pa.table({"key": ["a", "b", "c"], "question": ["What?", "Where?", "Why?"]})
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


@quick
@given(
    cuts=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    end=st.integers(1, 10_000) | st.none(),
)
def test_a_damaged_parquet_file_is_read_or_refused(cuts, end, parquet, tmp_path):
    content = bytearray(parquet)
    for place, byte in cuts:
        content[place % len(content)] = byte
    path = tmp_path / "asked.parquet"
    path.write_bytes(content[:end])
    _read(path, FileFormat.PARQUET)


@quick
@given(
    value=st.recursive(
        st.none()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from(["POST", "/v1/responses", "/v1/chat/completions", "user"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["body", "messages", "input", "role", "content", "text", "type"]),
                inner,
            )
        ),
        max_leaves=12,
    ),
    content=CONTENT,
)
def test_a_file_of_requests_is_read_or_refused(value, content, tmp_path):
    path = tmp_path / "requests.jsonl"
    good = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"input": "b"}}
    strange = [json.dumps(one).encode() for one in (value, good | {"body": value})]
    for tail in (*strange, content):
        path.write_bytes(json.dumps(good).encode() + b"\n" + tail)
        try:
            list(requests(path, "the file"))
        except SourceInvalid as error:
            _told_in_one_line(error)


ENTRY = {"id": "a", "answer": "b", "questions": ["c"]}


@quick
@given(
    content=CONTENT,
    name=st.sampled_from([*ENTRY, "language", "tags", "url", "other"]),
    value=st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.lists(st.text(max_size=2) | st.none(), max_size=3)
    | st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)
def test_a_knowledge_base_is_read_or_refused(content, name, value, tmp_path):
    path = tmp_path / "kb.jsonl"
    for lines in (content, json.dumps(ENTRY | {name: value}).encode() + b"\n" + content):
        path.write_bytes(lines)
        try:
            assert read_knowledge(path)
        except KnowledgeInvalid as error:
            _told_in_one_line(error)


@quick
@given(content=CONTENT)
def test_labelled_questions_are_read_or_refused(content, tmp_path):
    path = tmp_path / "labelled.csv"
    for head in (b"", b"question,expected\n", b"question,expected,scope\n"):
        path.write_bytes(head + content)
        is_labelled(path)
        try:
            read_labelled(path, frozenset({"a"}))
        except SourceInvalid as error:
            _told_in_one_line(error)
        try:
            list(read_rows(path, ("question",)))
        except SourceInvalid as error:
            _told_in_one_line(error)


MANIFESTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["files", "format", "sha256", "name", "threshold", "../x", "a"]), inner
        )
    ),
    max_leaves=10,
)


MANIFEST_CONTENT = asdict(
    Manifest(
        **dict.fromkeys(["name", "created", "encoder", "engine", "precision", "pooling"], "a"),
        **dict.fromkeys(["dimensions", "max_tokens", "entries", "phrasings"], 1),
        retrieval={},
        confidence={},
        metrics={},
        languages=[],
        threshold=0.5,
        precision_target=0.9,
        tuning=None,
        files={"a": "b"},
    )
)


@quick
@given(manifest=MANIFESTS.map(lambda found: json.dumps(found).encode()) | CONTENT)
def test_a_manifest_is_read_or_refused(manifest, tmp_path):
    (tmp_path / MANIFEST).write_bytes(manifest)
    for read in (read_manifest, open_bundle):
        with pytest.raises(BundleInvalid) as caught:
            read(tmp_path)
        _told_in_one_line(caught.value)


@quick
@given(
    name=st.sampled_from([field.name for field in fields(Manifest)] + ["other"]), value=MANIFESTS
)
def test_a_sealed_manifest_is_read_or_refused(name, value, tmp_path):
    (tmp_path / MANIFEST).write_bytes(bundle.manifest_bytes(MANIFEST_CONTENT))
    assert asdict(read_manifest(tmp_path)) == MANIFEST_CONTENT
    (tmp_path / MANIFEST).write_bytes(bundle.manifest_bytes(MANIFEST_CONTENT | {name: value}))
    try:
        found = read_manifest(tmp_path)
    except BundleInvalid as error:
        _told_in_one_line(error)
    else:
        assert getattr(found, name) == value
