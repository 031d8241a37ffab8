"""Bodies that hold questions: a file of a known format, or a JSON document, to a temporary file.

Uploads are read piece by piece, so that memory stays flat whatever their size.
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
from producer.web.api.schemas import NewQuestions

TYPES = {
    "text/csv": FileFormat.CSV,
    "text/tab-separated-values": FileFormat.TSV,
    "application/jsonl": FileFormat.JSONL,
    "application/x-ndjson": FileFormat.JSONL,
    "application/vnd.apache.parquet": FileFormat.PARQUET,
}
_JSON = "application/json"
_STEP = 1 << 16  # bytes
_CALLED = "the body"

# For the OpenAPI document.
JSON_BODY: dict[str, Any] = {_JSON: {"schema": {"$ref": "#/components/schemas/NewQuestions"}}}
BODY: dict[str, Any] = {
    **JSON_BODY,
    **{name: {"schema": {"type": "string", "format": "binary"}} for name in TYPES},
}


@contextmanager
def received(text: str | None, key: str | None) -> Iterator[CheckedFile]:
    """Receive the request's questions and check every one of them.

    Ends the request with a problem when they are not as they should be.
    """
    form = TYPES.get(request.mimetype)
    if form is None and request.mimetype != _JSON:
        hint = f"send one of {', '.join([_JSON, *TYPES])}"
        problems.refuse(415, "the Content-Type tells no format", field="Content-Type", hint=hint)
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        with _told(is_json=form is None):
            if form is None:
                form = FileFormat.JSONL
                _write(copy, _lines(asked()))
            else:
                _write(copy, iter(lambda: request.stream.read(_STEP), b""))
            with opened(copy.name, text=text, key=key, file_format=form, called=_CALLED) as source:
                checked = check(source)
        yield checked


def asked() -> NewQuestions:
    """Return the questions of a JSON body; end the request when it holds none."""
    try:
        return NewQuestions.model_validate(request.get_json(silent=True))
    except ValidationError as error:
        raise HTTPException(response=problems.invalid(error)) from error


def _lines(found: NewQuestions) -> Iterator[bytes]:
    for question in found.questions:
        yield json.dumps(question.model_dump(exclude_none=True)).encode() + b"\n"


def _write(copy: IO[bytes], parts: Iterable[bytes]) -> None:
    try:
        for part in parts:
            copy.write(part)
        copy.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        away = {"Retry_After": "60"}
        problems.refuse(503, "there is no room for uploads now", hint="try again later", **away)


@contextmanager
def _told(*, is_json: bool) -> Iterator[None]:
    try:
        yield
    except SourceInvalid as error:
        if error.row is None or not is_json:
            raise
        # The rows are ours: the caller knows the places of a list.
        problems.refuse(422, error.problem, field=f"questions.{error.row - 1}")
