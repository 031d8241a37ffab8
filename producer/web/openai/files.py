"""`/openai/v1/files`: upload, list, look up, download, delete, as OpenAI's clients do it."""

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
    DeletedFile,
    FileList,
    FileObject,
    FilePath,
    ListQuery,
)

api = APIBlueprint(
    "openai_files",
    __name__,
    url_prefix=f"{PREFIX}/files",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

_LONGEST_NAME = 200  # characters
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


@api.post("", summary="Upload a file", responses={200: FileObject}, openapi_extensions=_BODY)
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def create() -> Response:
    """Keep a file of requests; every line is checked before it is."""
    if request.form.get("purpose") != "batch":
        problems.refuse(422, "files are for batches here", field="purpose", hint="send batch")
    file = request.files.get("file")
    if file is None:
        problems.refuse(422, "there is no file", field="file", hint="send multipart/form-data")
    name = "".join(c for c in file.filename or "" if c.isprintable())[:_LONGEST_NAME]
    return jsonify(
        _document(
            files.keep(current_context().engine, current_context().settings, name, file.stream)
        )
    )


@api.get("", summary="List files", responses={200: FileList})
@requires_scope(Scope.READ)
def listing(query: ListQuery) -> Response:
    """Tell which files there are, the newest first."""
    with reading(current_context().engine) as conn:
        found = uploaded_files.newest(conn, query.limit + 1, query.after)
    data = [_document(one) for one in found[: query.limit]]
    return jsonify(object="list", data=data, has_more=len(found) > query.limit)


@api.get("/<file>", summary="Look a file up", responses={200: FileObject})
@requires_scope(Scope.READ)
def get(path: FilePath) -> Response:
    """Tell of one file; of one that a batch ended in, too."""
    return jsonify(_document(files.find(current_context().engine, path.file)))


@api.get(
    "/<file>/content",
    summary="Download a file",
    responses={200: {"description": "Its lines", "content": _LINES}},
)
@requires_scope(Scope.READ)
def content(path: FilePath) -> Response:
    """Send a file's lines."""
    body = files.content(current_context().engine, path.file)
    first = next(body, b"")  # what goes wrong at once is told with a status
    return Response(stream_with_context(chain([first], body)), content_type="application/jsonl")


@api.delete("/<file>", summary="Delete a file", responses={200: DeletedFile})
@requires_scope(Scope.SUBMIT, recorded=True)
def delete(path: FilePath) -> Response:
    """Forget an uploaded file; batches that were made of it stay."""
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
        "purpose": "batch_output" if files.is_made(file.id) else "batch",
        "status": "processed",
    }
