"""Routes `/openai/v1/files`: upload, list, get, download and delete files."""

from __future__ import annotations

from itertools import chain
from typing import Any

from flask import Response, jsonify, request, stream_with_context
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from db.queries import uploaded_files
from db.session import reading, transaction
from producer.openai import files
from producer.web import problems
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import current_context
from producer.web.openai.schemas import (
    PREFIX,
    DeletedFileResponse,
    FilePath,
    FileResponse,
    FilesResponse,
    ListObjectsQuery,
)

api = APIBlueprint(
    "openai_files",
    __name__,
    url_prefix=f"{PREFIX}/files",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

_MAX_NAME = 200  # characters; a longer file name is cut
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "purpose": {"enum": ["batch"]},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_LINES = {"application/jsonl": {"schema": {"type": "string"}}}


@api.post("", summary="Upload a file", responses={200: FileResponse}, openapi_extensions=_BODY)
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def create() -> Response:
    """Store a file of requests after validating every line."""
    if request.form.get("purpose") != "batch":
        problems.refuse(
            422, "unsupported purpose", field="purpose", hint="send the form field purpose=batch"
        )
    file = request.files.get("file")
    if file is None:
        hint = "send multipart/form-data with a part `file`"
        problems.refuse(422, "missing file", field="file", hint=hint)
    name = "".join(c for c in file.filename or "" if c.isprintable())[:_MAX_NAME]
    context = current_context()
    return jsonify(_document(files.keep(context.engine, context.settings, name, file.stream)))


@api.get("", summary="List files", responses={200: FilesResponse})
@requires_scope(Scope.READ)
def listing(query: ListObjectsQuery) -> Response:
    """Return the uploaded files, newest first."""
    with reading(current_context().engine) as conn:
        uploaded = uploaded_files.newest(conn, query.limit + 1, query.after)
    data = [_document(file) for file in uploaded[: query.limit]]
    return jsonify(object="list", data=data, has_more=len(uploaded) > query.limit)


@api.get("/<file>", summary="Get a file", responses={200: FileResponse})
@requires_scope(Scope.READ)
def get(path: FilePath) -> Response:
    """Return the attributes of an uploaded file or an output file."""
    return jsonify(_document(files.find(current_context().engine, path.file)))


@api.get(
    "/<file>/content",
    summary="Download a file",
    responses={200: {"description": "The lines of the file", "content": _LINES}},
)
@requires_scope(Scope.READ)
def content(path: FilePath) -> Response:
    """Download the lines of a file."""
    body = files.content(current_context().engine, path.file)
    first = next(body, b"")  # raises an early error while the status can still report it
    return Response(stream_with_context(chain([first], body)), content_type="application/jsonl")


@api.delete("/<file>", summary="Delete a file", responses={200: DeletedFileResponse})
@requires_scope(Scope.SUBMIT, recorded=True)
def delete(path: FilePath) -> Response:
    """Delete an uploaded file. Batches created from the file remain."""
    with transaction(current_context().engine) as conn:
        uploaded_files.find(conn, path.file)
        uploaded_files.delete(conn, path.file)
    return jsonify(id=path.file, object="file", deleted=True)


def _document(file: uploaded_files.UploadedFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.name,
        "purpose": "batch_output" if files.is_result_file(file.id) else "batch",
        "status": "processed",
    }
