"""Use case: files of OpenAI's form, kept in the database, and batches made of them.

An uploaded file is checked whole before it is kept. Kept in parts, it is stored and read in
flat memory, and every process of the HTTP front sees it. The files that a batch ends in are
not kept: they are written anew from its results each time.
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
from typing import IO, TYPE_CHECKING

import sqlalchemy as sa

from core.domain.batch import Batch
from core.errors import FileUnknown, SourceInvalid
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import batches, uploaded_files
from db.queries.uploaded_files import OpenAIBatch, UploadedFile
from db.session import reading, transaction
from producer.openai.jsonl import errors, output, requests
from producer.question_files import rows
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import CheckedFile, check, opened
from producer.results.pages import pages
from producer.submission.admission import WhenFull
from producer.submission.redaction import redact_all
from producer.submission.submit import submit

if TYPE_CHECKING:
    from celery import Celery

OUTPUT, ERRORS = "file-out-", "file-err-"  # before a batch's name: the files that it ends in
WINDOW = timedelta(hours=24)
_INPUT = "file-"
_PART = 1 << 20  # bytes
_CALLED = "the file"


def keep(engine: sa.Engine, settings: Settings, name: str, content: IO[bytes]) -> UploadedFile:
    """Check a file of requests and keep it, its bodies redacted if that is set.

    Raises:
        SourceInvalid: with the row of its first fault; nothing is kept.
    """
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        _copy(iter(partial(content.read, _PART), b""), copy)
        with _checked(Path(copy.name), None), _redacted(Path(copy.name), settings) as kept:
            size = kept.stat().st_size
            file = UploadedFile(_INPUT + uuid.uuid4().hex, name, size, DatabaseClock(engine)())
            _keep_parts(engine, file, kept)
    return file


def _keep_parts(engine: sa.Engine, file: UploadedFile, kept: Path) -> None:
    try:
        with transaction(engine) as conn:
            uploaded_files.begin(conn, file)
        with kept.open("rb") as stream:
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
    """Give the file as it is kept; what was taken out of it must not lie beside the questions."""
    if not settings.redacted:
        yield path
        return
    with (
        tempfile.NamedTemporaryFile("w", prefix="answermill-", encoding="utf-8") as copy,
        rows.opened(path, _CALLED) as stream,
    ):
        for _, found in rows.json_rows(stream, _CALLED):
            body = redact_all(found.get("body"), settings.redacted)
            copy.write(json.dumps({**found, "body": body}, ensure_ascii=False) + "\n")
        copy.flush()
        yield Path(copy.name)


def is_made(file_id: str) -> bool:
    """Tell whether a file is one that a batch ends in."""
    return file_id.startswith((OUTPUT, ERRORS))


def find(engine: sa.Engine, file_id: str) -> UploadedFile:
    """Return a file, a batch's own ones included.

    Raises:
        FileUnknown: there is none of this id, or its batch has not ended.
    """
    if is_made(file_id):
        _, batch = _origin(engine, file_id)
        size = sum(map(len, content(engine, file_id)))
        return UploadedFile(
            file_id, f"{file_id}.jsonl", size, batch.finished_at or batch.created_at
        )
    with reading(engine) as conn:
        return uploaded_files.find(conn, file_id)


def content(engine: sa.Engine, file_id: str) -> Iterator[bytes]:
    """Read a file, a batch's own ones included, part by part.

    Raises:
        FileUnknown: there is none of this id, or its batch has not ended.
    """
    if is_made(file_id):
        order, batch = _origin(engine, file_id)
        found = pages(engine, batch.id)
        if file_id.startswith(ERRORS):
            return errors(found, order.name)
        return output(found, order.name, order.endpoint)
    with reading(engine) as conn:
        file = uploaded_files.find(conn, file_id)
    return _kept(engine, file)


def _origin(engine: sa.Engine, file_id: str) -> tuple[OpenAIBatch, Batch]:
    name = file_id.removeprefix(OUTPUT).removeprefix(ERRORS)
    with reading(engine) as conn:
        order, batch = uploaded_files.find_openai_batch(conn, name), batches.named(conn, name)
    if batch is None or batch.finished_at is None:
        raise FileUnknown(file_id)
    return order, batch


def _kept(engine: sa.Engine, file: UploadedFile) -> Iterator[bytes]:
    left = file.bytes
    for number in count():
        if left <= 0:
            return
        with reading(engine) as conn:
            part = uploaded_files.part(conn, file.id, number)
        if part is None:
            raise FileUnknown(file.id)  # it was deleted meanwhile: half of it is no file
        yield part
        left -= len(part)


def make_batch(
    engine: sa.Engine, app: Celery, settings: Settings, order: OpenAIBatch, by: str
) -> None:
    """Submit a kept file's requests under the order's name.

    Raises:
        FileUnknown: there is no such file.
        SourceInvalid: its requests are for another endpoint.
        ServiceUnavailable: the database or Redis can't be reached.
        BacklogFull: too many questions wait already.
    """
    kept = content(engine, order.file_id)
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        _copy(kept, copy)
        with _checked(Path(copy.name), order.endpoint) as checked:
            with transaction(engine) as conn:
                uploaded_files.add_openai_batch(conn, order)
            try:
                submit(
                    engine,
                    app,
                    settings,
                    checked,
                    name=order.name,
                    deadline=WINDOW,
                    origin=by,
                    when_full=WhenFull.STOP,
                )
            except BaseException:
                with transaction(engine) as conn:
                    if batches.named(conn, order.name) is None:
                        uploaded_files.remove_openai_batch(conn, order.name)
                raise


def _copy(parts: Iterator[bytes], copy: IO[bytes]) -> int:
    size = sum(copy.write(part) for part in parts)
    copy.flush()
    return size


@contextmanager
def _checked(path: Path, endpoint: str | None) -> Iterator[CheckedFile]:
    """Check a file of requests, for an endpoint if one is given."""
    with tempfile.NamedTemporaryFile("w", prefix="answermill-", encoding="utf-8") as lines:
        for row, wanted, asked in requests(path, _CALLED):
            if endpoint is not None and wanted != endpoint:
                problem = f"the request is for {wanted}, the batch for {endpoint}"
                raise SourceInvalid(_CALLED, problem, row=row)
            lines.write(json.dumps(asked) + "\n")
        lines.flush()
        with opened(lines.name, file_format=FileFormat.JSONL, called=_CALLED) as source:
            yield check(source)
