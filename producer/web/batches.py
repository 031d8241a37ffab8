"""`/v1/batches`: upload, follow, read, cancel, retry.

An upload is the file itself, its Content-Type the format; it goes to a temporary file and is
checked whole before any of it is stored, as `submit` does. The same file sent again under the
same name is the same batch, so a caller that heard no answer just sends it again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from db import batches, results
from db.entities import Lane, Status
from db.errors import SourceInvalid
from db.session import reading
from db.terminal import out
from producer import cancel as cancelling
from producer import retry as retrying
from producer.export import ExportFormat, document, export
from producer.readers import FileFormat
from producer.results import pages
from producer.source import check, opened
from producer.status import newest, standing
from producer.submit import submit
from producer.web.problems import problem
from producer.web.surroundings import here

api = APIBlueprint("batches", __name__, url_prefix="/v1/batches")

_TYPES = {
    "text/csv": FileFormat.CSV,
    "text/tab-separated-values": FileFormat.TSV,
    "application/jsonl": FileFormat.JSONL,
    "application/x-ndjson": FileFormat.JSONL,
    "application/vnd.apache.parquet": FileFormat.PARQUET,
}
_STEP = 1 << 16  # bytes
_LONGEST_DEADLINE = 365 * 86_400  # seconds
_DONE = {"description": "Done", "content": {"application/json": {}}}
_FOUND = {"description": "Found", "content": {"application/json": {}}}


class Upload(BaseModel):
    """How an upload is to be read and run."""

    name: str | None = None
    text: str | None = None
    key: str | None = None
    lane: Lane = Lane.BULK
    deadline_seconds: Annotated[int, Field(gt=0, le=_LONGEST_DEADLINE)] | None = None


class BatchPath(BaseModel):
    """A batch's id or name."""

    batch: str


class Listing(BaseModel):
    """How many batches."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Following(BaseModel):
    """Which results."""

    since: Annotated[int, Field(ge=0, lt=1 << 62)] = 0
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class Download(BaseModel):
    """Which results, and how they are written."""

    format: Literal["csv", "jsonl", "parquet"] = "csv"
    status: Status | None = None


class Again(BaseModel):
    """Which questions run again."""

    status: Literal["failed", "handed_off"] = "failed"


_UPLOAD = {"requestBody": {"required": True, "content": {name: {} for name in _TYPES}}}


@api.post(
    "",
    summary="Submit a file",
    responses={201: {"description": "Stored", "content": {"application/json": {}}}, 200: _DONE},
    openapi_extensions=_UPLOAD,
)
def post(query: Upload) -> Response:
    """Store the questions of the body as a batch."""
    form = _TYPES.get(request.mimetype)
    if form is None:
        hint = f"send one of {', '.join(_TYPES)}"
        return problem(415, "the Content-Type tells no format", field="Content-Type", hint=hint)
    s = here()
    due = None if query.deadline_seconds is None else timedelta(seconds=query.deadline_seconds)
    with tempfile.NamedTemporaryFile(prefix="answermill-") as copy:
        while part := request.stream.read(_STEP):
            copy.write(part)
        copy.flush()
        with _told_as_upload(copy.name):
            with opened(copy.name, text=query.text, key=query.key, file_format=form) as source:
                done = submit(
                    s.engine, s.client, s.settings, check(source),
                    name=query.name, lane=query.lane, deadline=due,
                )
    told = jsonify(done.document())
    told.status_code = 200 if done.already else 201
    told.headers["Location"] = url_for("batches.get", batch=done.batch.id)
    return told
