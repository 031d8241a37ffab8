"""Request bodies with questions: files of a known format, or JSON.

A body is copied to a temporary file in chunks, so memory use does not depend on its size. Then all
questions are validated before any is stored.
"""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from flask import request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from core.errors import SourceInvalid
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import CheckedFile, check, opened
from producer.web import problems
from producer.web.api.schemas import QuestionsBody

TYPES = {
    "text/csv": FileFormat.CSV,
    "text/tab-separated-values": FileFormat.TSV,
    "application/jsonl": FileFormat.JSONL,
    "application/x-ndjson": FileFormat.JSONL,
    "application/vnd.apache.parquet": FileFormat.PARQUET,
}
_JSON = "application/json"
_CHUNK_BYTES = 1 << 16
_DISPLAY_NAME = "the body"  # in error messages, instead of a file name
_RETRY_SECONDS = 60  # of Retry-After when the disk is full

# For the OpenAPI document.
_REF = f"#/components/schemas/{QuestionsBody.__name__}"
JSON_BODY: dict[str, Any] = {_JSON: {"schema": {"$ref": _REF}}}
BODY: dict[str, Any] = {
    **JSON_BODY,
    **{name: {"schema": {"type": "string", "format": "binary"}} for name in TYPES},
}


@contextmanager
def received(text: str | None, key: str | None) -> Iterator[CheckedFile]:
    """Copy and validate the questions of the request.

    Aborts the request with a problem response if the body or a question is invalid.
    """
    file_format = TYPES.get(request.mimetype)
    if file_format is None and request.mimetype != _JSON:
        hint = f"send one of {', '.join([_JSON, *TYPES])}"
        problems.refuse(415, "unknown Content-Type", field="Content-Type", hint=hint)
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        with _list_positions(is_json=file_format is None):
            if file_format is None:
                file_format = FileFormat.JSONL
                _write(copy, _lines(json_questions()))
            else:
                _write(copy, iter(lambda: request.stream.read(_CHUNK_BYTES), b""))
            with opened(
                copy.name, text=text, key=key, file_format=file_format, display_name=_DISPLAY_NAME
            ) as source:
                checked = check(source)
        yield checked


def json_questions() -> QuestionsBody:
    """Return the questions of a JSON body, or abort the request."""
    try:
        return QuestionsBody.model_validate(request.get_json(silent=True))
    except ValidationError as error:
        raise HTTPException(response=problems.invalid(error)) from error


def _lines(body: QuestionsBody) -> Iterator[bytes]:
    for question in body.questions:
        yield json.dumps(question.model_dump(exclude_none=True)).encode() + b"\n"


def _write(copy: IO[bytes], parts: Iterable[bytes]) -> None:
    try:
        for part in parts:
            copy.write(part)
        copy.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        detail, hint = "the disk for uploads is full", f"try again in {_RETRY_SECONDS} s"
        problems.refuse(503, detail, hint=hint, Retry_After=str(_RETRY_SECONDS))


@contextmanager
def _list_positions(*, is_json: bool) -> Iterator[None]:
    try:
        yield
    except SourceInvalid as error:
        if error.row is None or not is_json:
            raise
        # The client sent a JSON list, not the rows of the temporary file.
        problems.refuse(422, error.problem, field=f"questions.{error.row - 1}")
