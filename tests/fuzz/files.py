"""`make fuzz`: whatever bytes are in a file or a message, it is read or refused in one line.

libFuzzer, by way of atheris, changes the bytes so that they come to code that nothing came to
before. Any other error ends the run with its traceback and keeps the bytes. The tests in
tests/property ask the same of bytes that no fuzzer steers.

    python -m tests.fuzz.files csv|tsv|jsonl|pipe|requests|knowledge|labelled|manifest|message
        [libFuzzer's own words, such as -max_total_time=60]
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["core", "broker", "db", "producer", "worker", "json", "csv"]
):
    from core.errors import AnswermillError, BundleInvalid, KnowledgeInvalid, SourceInvalid
    from core.messages import JobHint, MessageInvalid
    from producer.openai.jsonl import requests
    from producer.question_files.formats import FileFormat
    from producer.question_files.question_file import check, opened
    from worker.lifecycle.inputs.knowledge_file import read_knowledge
    from worker.lifecycle.inputs.labelled_questions import is_labelled, read_labelled
    from worker.model.bundle.bundle import MANIFEST, open_bundle

Target = Callable[[Path, bytes], None]


def _questions(form: FileFormat | None, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with opened(str(path), file_format=form) as source:
        checked = check(source)
        assert sum(1 for _ in checked.questions()) == checked.count


def _pipe(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with path.open("rb") as file, opened(f"/dev/fd/{file.fileno()}", file_format=FileFormat.CSV):
        pass


def _requests(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    list(requests(path, "the file"))


def _knowledge(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    read_knowledge(path)


def _labelled(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    is_labelled(path)
    read_labelled(path, frozenset({"a"}))


def _manifest(path: Path, content: bytes) -> None:
    (path.parent / MANIFEST).write_bytes(content)
    open_bundle(path.parent)


def _message(_path: Path, content: bytes) -> None:
    try:
        wire = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(wire, dict):
        JobHint.decode(wire)


TARGETS: dict[str, Target] = {
    "csv": partial(_questions, FileFormat.CSV),
    "tsv": partial(_questions, FileFormat.TSV),
    "jsonl": partial(_questions, FileFormat.JSONL),
    "pipe": _pipe,
    "requests": _requests,
    "knowledge": _knowledge,
    "labelled": _labelled,
    "manifest": _manifest,
    "message": _message,
}
# What it begins with, so that it need not find the form of a good file by itself.
_REQUEST = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"input": "b"}}
_ENTRY = {"id": "a", "answer": "b", "questions": ["c"], "language": "en", "tags": [], "url": "d"}
GOOD = {
    "csv": b'key,question,language\na,"b, ""c""",en\n',
    "tsv": b"key\tquestion\na\tb\r\n",
    "jsonl": b'{"key": 1, "question": "b", "language": "en", "metadata": {"a": [1]}}\n',
    "pipe": b'question\n"a\nb"\n',
    "requests": json.dumps(_REQUEST).encode(),
    "knowledge": json.dumps(_ENTRY).encode(),
    "labelled": b"question,expected,scope\nb,a|a,\nc,,near\n",
    "manifest": b'{"files": {}, "format": 2, "sha256": ""}\n',
    "message": b'{"v": 1, "job": 1}',
}
_EXPECTED = (SourceInvalid, KnowledgeInvalid, BundleInvalid, MessageInvalid)


def main(words: list[str]) -> None:
    target = TARGETS[words[1]]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path, corpus = Path(folder) / "made" / "file", Path(folder) / "corpus"
        path.parent.mkdir()
        corpus.mkdir()
        (corpus / "good").write_bytes(GOOD[words[1]])

        def once(content: bytes) -> None:
            try:
                target(path, content)
            except _EXPECTED as error:
                _in_one_line(error)

        atheris.Setup([words[0], *words[2:], str(corpus)], once)
        atheris.Fuzz()


def _in_one_line(error: AnswermillError) -> None:
    message = str(error)
    assert len(message.splitlines()) == 1, message
    assert len(message) < 1_000, message


if __name__ == "__main__":
    main(sys.argv)
