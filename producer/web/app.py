"""The Flask app: its routes, their OpenAPI document, and what every response carries."""

from __future__ import annotations

from importlib import metadata

import sqlalchemy as sa
from flask import Response, request
from flask_openapi3.models.info import Info
from flask_openapi3.models.schema import Schema
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.utils import get_model_schema
from pydantic import BaseModel

from db.session import reading
from producer.broker import check
from producer.web import (
    access,
    batches,
    desk,
    openai_batches,
    openai_files,
    problems,
    questions,
    results,
    sessions,
    shapes,
)
from producer.web.access import SCHEME, needs
from producer.web.page import page
from producer.web.surroundings import Surroundings, here

LARGEST_BODY = 8 << 20  # bytes of what is no upload: it is held in memory
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"


class Health(BaseModel):
    """The database and Redis serve."""

    status: str


def create_app(surroundings: Surroundings) -> OpenAPI:
    """Build the app around an open database and a client of Redis."""
    app = OpenAPI(
        __name__,
        info=Info(title="Answermill", version=metadata.version("answermill")),
        security_schemes={SCHEME: {"type": "http", "scheme": "bearer"}},
        validation_error_callback=problems.invalid,
        validation_error_model=problems.Problem,
        static_folder=None,
        doc_prefix="/v1/docs",
    )
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_BODY, PROPAGATE_EXCEPTIONS=False)
    app.url_map.merge_slashes = False  # it would redirect
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    app.extensions["answermill"] = surroundings
    problems.install(app)
    sessions.install(app, surroundings.settings)
    access.install(app)
    app.after_request(_harden)
    for api in (m.api for m in (questions, batches, results, desk, openai_files, openai_batches)):
        app.register_api(api)
    app.register_blueprint(page)
    # Of what a view reads by itself.
    for shape in (shapes.NewQuestions,):
        schema = get_model_schema(shape)
        parts = {shape.__name__: schema, **schema.pop("$defs", {})}
        app.components_schemas.update({name: Schema(**part) for name, part in parts.items()})
    app.get(
        "/v1/health",
        summary="Whether the database and Redis serve",
        responses={"200": Health, **problems.responses(405, 422, 500, 503)},
    )(health)
    return app


@needs(None)
def health() -> dict[str, str]:
    """Tell whether requests that need them would succeed."""
    s = here()
    check(s.client, s.settings)
    with reading(s.engine) as conn:
        conn.execute(sa.select(1))
    return {"status": "ok"}


def _harden(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.blueprint not in access.PUBLIC:
        response.headers.setdefault("Content-Security-Policy", _NO_PAGE)
    return response
