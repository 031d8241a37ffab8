"""Routes `/v1/batches/{batch}/results`: pages and downloads."""

from __future__ import annotations

from itertools import chain

from flask import Response, jsonify, stream_with_context
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from core.domain.result import Status
from db.queries import batches
from db.session import reading
from producer.results.byte_stream import stream_bytes
from producer.results.export import ExportFormat, document
from producer.results.pages import page_of, pages
from producer.web import problems
from producer.web.api.schemas import BatchPath, DownloadQuery, Format, ResultsQuery, ResultsResponse
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import current_context

api = APIBlueprint(
    "results",
    __name__,
    url_prefix="/v1/batches/<batch>/results",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}
_FILES = {name.partition(";")[0]: {"schema": {"type": "string"}} for name in _TYPES.values()}


@api.get("", summary="Read results", responses={200: ResultsResponse})
@requires_scope(Scope.READ)
def page(path: BatchPath, query: ResultsQuery) -> Response:
    """Return the results after a cursor.

    Pass `next` as `since` until `finished` is true: every result is then returned exactly once.
    """
    rows, finished = page_of(
        current_context().engine,
        path.batch,
        since=query.since,
        status=query.status,
        limit=query.limit,
    )
    last = rows[-1].cursor if rows else query.since
    return jsonify(results=[document(row) for row in rows], next=last, finished=finished)


@api.get(
    "/download",
    summary="Download the results",
    responses={200: {"description": "All results so far", "content": _FILES}},
)
@requires_scope(Scope.READ)
def download(path: BatchPath, query: DownloadQuery) -> Response:
    """Download all results so far, in the columns of `answermill results`."""
    return download_response(path.batch, query.format, query.status)


def download_response(ref: str, file_format: Format, status: Status | None = None) -> Response:
    """Return a response with the results of a batch as a file."""
    engine = current_context().engine
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    body = stream_bytes(pages(engine, batch.id, status=status), ExportFormat(file_format))
    first = next(body)  # raises an early error while the status can still report it
    response = Response(stream_with_context(chain([first], body)), content_type=_TYPES[file_format])
    name = f"batch-{batch.id}.{file_format}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
