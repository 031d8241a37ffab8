"""Use case: store files in OpenAI's format, and create batches from them.

An uploaded file is checked completely before it is stored. It is stored in parts, so that memory
stays bounded, and every process of the HTTP front can read it. The result files of a batch are not
stored: each download writes them again from the results.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from core.domain.batch import Batch
from core.errors import FileUnknown, SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches, uploaded_files
from db.queries.uploaded_files import OpenAIBatch, UploadedFile
from db.session import reading, transaction
from producer.connections import ProducerContext
from producer.openai.jsonl import errors, output, requests
from producer.question_files import rows
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import CheckedFile, check, opened
from producer.results.pages import pages
from producer.submission.admission import WhenFull
from producer.submission.redaction import redact_all
from producer.submission.submit import SubmitRequest, submit

OUTPUT, ERRORS = "file-out-", "file-err-"  # prefixes of result files; the batch name follows
WINDOW = timedelta(hours=24)  # the deadline of every batch
_INPUT = "file-"
_PART = 1 << 20  # bytes; higher: fewer rows and queries, more memory
_DISPLAY_NAME = "the file"


def keep(engine: sa.Engine, settings: Settings, name: str, content: IO[bytes]) -> UploadedFile:
    """Check and store a file of requests, with redacted bodies if that is set.

    Raises:
        SourceInvalid: a row is invalid; the error names the first one. Nothing is stored.
    """
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        _copy(iter(partial(content.read, _PART), b""), copy)
        with _checked(Path(copy.name), None), _redacted(Path(copy.name), settings) as path:
            size = path.stat().st_size
            file = UploadedFile(_INPUT + uuid.uuid4().hex, name, size, DatabaseClock(engine)())
            _store_parts(engine, file, path)
    return file


def _store_parts(engine: sa.Engine, file: UploadedFile, path: Path) -> None:
    try:
        with transaction(engine) as conn:
            uploaded_files.begin(conn, file)
        with path.open("rb") as stream:
            for number, part in enumerate(iter(partial(stream.read, _PART), b"")):
                with transaction(engine) as conn:
                    uploaded_files.add_part(conn, file.id, number, part)
        with transaction(engine) as conn:
            uploaded_files.complete(conn, file)
    except BaseException:
        with transaction(engine) as conn:
            uploaded_files.delete(conn, file.id)
        raise


@contextmanager
def _redacted(path: Path, settings: Settings) -> Iterator[Path]:
    """Yield the file to store, with redacted bodies if that is set."""
    if not settings.redacted:
        yield path
        return
    with (
        tempfile.NamedTemporaryFile("w", prefix="answermill-", encoding="utf-8") as copy,
        rows.open_text(path, _DISPLAY_NAME) as stream,
    ):
        for _, request in rows.json_rows(stream, _DISPLAY_NAME):
            body = redact_all(request.get("body"), settings.redacted)
            copy.write(json.dumps({**request, "body": body}, ensure_ascii=False) + "\n")
        copy.flush()
        yield Path(copy.name)


def is_result_file(file_id: str) -> bool:
    """Return whether a file is a result file of a batch."""
    return file_id.startswith((OUTPUT, ERRORS))


def find(engine: sa.Engine, file_id: str) -> UploadedFile:
    """Return an uploaded file or a result file.

    Raises:
        FileUnknown: no file has this id, or its batch has not ended.
    """
    if is_result_file(file_id):
        _, batch = _origin(engine, file_id)
        size = sum(map(len, content(engine, file_id)))
        return UploadedFile(
            file_id, f"{file_id}.jsonl", size, batch.finished_at or batch.created_at
        )
    with reading(engine) as conn:
        return uploaded_files.find(conn, file_id)


def content(engine: sa.Engine, file_id: str) -> Iterator[bytes]:
    """Read an uploaded file or a result file, part by part.

    Raises:
        FileUnknown: no file has this id, or its batch has not ended.
    """
    if is_result_file(file_id):
        order, batch = _origin(engine, file_id)
        result_pages = pages(engine, batch.id)
        if file_id.startswith(ERRORS):
            return errors(result_pages, order.name)
        return output(result_pages, order.name, order.endpoint)
    with reading(engine) as conn:
        file = uploaded_files.find(conn, file_id)
    return _stored_parts(engine, file)


def _origin(engine: sa.Engine, file_id: str) -> tuple[OpenAIBatch, Batch]:
    name = file_id.removeprefix(OUTPUT).removeprefix(ERRORS)
    with reading(engine) as conn:
        order, batch = uploaded_files.find_openai_batch(conn, name), batches.named(conn, name)
    if batch is None or batch.finished_at is None:
        raise FileUnknown(file_id)
    return order, batch


def _stored_parts(engine: sa.Engine, file: UploadedFile) -> Iterator[bytes]:
    remaining = file.bytes
    for number in count():
        if remaining <= 0:
            return
        with reading(engine) as conn:
            part = uploaded_files.part(conn, file.id, number)
        if part is None:
            raise FileUnknown(file.id)  # deleted during the download; half a file is not a file
        yield part
        remaining -= len(part)


def make_batch(context: ProducerContext, order: OpenAIBatch, by: str) -> None:
    """Submit the requests of a stored file under the order's name.

    Raises:
        FileUnknown: no file has this id.
        SourceInvalid: a request names another endpoint than the order.
        ServiceUnavailable: the database or Redis cannot be reached.
        BacklogFull: too many questions wait already.
    """
    parts = content(context.engine, order.file_id)
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        _copy(parts, copy)
        with _checked(Path(copy.name), order.endpoint) as checked:
            request = SubmitRequest(
                checked, name=order.name, deadline=WINDOW, origin=by, when_full=WhenFull.STOP
            )
            with _recorded(context.engine, order):
                submit(context, request)


@contextmanager
def _recorded(engine: sa.Engine, order: OpenAIBatch) -> Iterator[None]:
    """Store the order, and delete it if the block fails without a batch."""
    with transaction(engine) as conn:
        uploaded_files.add_openai_batch(conn, order)
    try:
        yield
    except BaseException:
        with transaction(engine) as conn:
            if batches.named(conn, order.name) is None:
                uploaded_files.remove_openai_batch(conn, order.name)
        raise


def _copy(parts: Iterator[bytes], copy: IO[bytes]) -> None:
    for part in parts:
        copy.write(part)
    copy.flush()


@contextmanager
def _checked(path: Path, endpoint: str | None) -> Iterator[CheckedFile]:
    """Check a file of requests, all for one endpoint if it is given."""
    with tempfile.NamedTemporaryFile("w", prefix="answermill-", encoding="utf-8") as lines:
        for row, requested, question in requests(path, _DISPLAY_NAME):
            if endpoint is not None and requested != endpoint:
                problem = f"the request is for {requested}, the batch for {endpoint}"
                raise SourceInvalid(_DISPLAY_NAME, problem, row=row)
            lines.write(json.dumps(question) + "\n")
        lines.flush()
        with opened(lines.name, file_format=FileFormat.JSONL, display_name=_DISPLAY_NAME) as source:
            yield check(source)
