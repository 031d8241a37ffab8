"""`/v1/batches/…/results`: page by page behind a cursor, or all of it as a download."""

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


@api.get("", summary="Results behind a cursor", responses={200: ResultsResponse})
@requires_scope(Scope.READ)
def page(path: BatchPath, query: ResultsQuery) -> Response:
    """Tell the next results: go on from `next` until `finished`, and none is missed."""
    found, finished = page_of(
        current_context().engine,
        path.batch,
        since=query.since,
        status=query.status,
        limit=query.limit,
    )
    last = found[-1].cursor if found else query.since
    return jsonify(results=[document(row) for row in found], next=last, finished=finished)


@api.get(
    "/download",
    summary="Download the results",
    responses={200: {"description": "The results that there are", "content": _FILES}},
)
@requires_scope(Scope.READ)
def download(path: BatchPath, query: DownloadQuery) -> Response:
    """Send every result that is there, in the columns of `answermill results`."""
    return sent(path.batch, query.format, query.status)


def sent(ref: str, form: Format, status: Status | None = None) -> Response:
    """Return the response that sends a batch's results as a file."""
    engine = current_context().engine
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    found = pages(engine, batch.id, status=status)
    body = stream_bytes(found, ExportFormat(form))
    first = next(body)  # what goes wrong at once is told with a status
    response = Response(stream_with_context(chain([first], body)), content_type=_TYPES[form])
    file = f"batch-{batch.id}.{form}"
    response.headers["Content-Disposition"] = f'attachment; filename="{file}"'
    return response
