"""The Flask app: the routes of `/v1`, their OpenAPI document, and who may speak to them.

It knows no keys yet, so it answers this machine alone: another Host is refused, which stops
a name that leads here, and so is a page of another origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import Response, request
from flask_openapi3 import Info, OpenAPI

from db.config import Settings
from db.session import reading
from producer.broker import check
from producer.web import batches, problems, questions
from producer.web.surroundings import Surroundings

if TYPE_CHECKING:
    from celery import Celery

LARGEST_UPLOAD = 1 << 30  # bytes; a body goes to a temporary file
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


def create_app(settings: Settings, engine: sa.Engine, client: Celery) -> OpenAPI:
    """Build the app around an open database and a client of Redis."""
    app = OpenAPI(
        __name__,
        info=Info(title="Answermill", version="1"),
        responses=problems.RESPONSES,
        validation_error_callback=problems.invalid,
        static_folder=None,
        doc_prefix="/v1",
    )
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_UPLOAD, TRUSTED_HOSTS=_LOOPBACK)
    app.extensions["answermill"] = Surroundings(settings, engine, client)
    problems.install(app)
    app.before_request(_refuse_other_origins)
    app.after_request(_harden)
    app.register_api(batches.api)
    app.register_api(questions.api)

    @app.get("/v1/health", summary="Whether the database and Redis serve")
    def health() -> dict[str, str]:
        check(client, settings)
        with reading(engine) as conn:
            conn.execute(sa.select(1))
        return {"status": "ok"}

    return app


def _refuse_other_origins() -> Response | None:
    # Accessing it checks the Host against TRUSTED_HOSTS.
    ours = request.host_url.rstrip("/")
    origin = request.headers.get("Origin")
    if origin is not None and origin != ours:
        return problems.problem(403, "a page of another origin may not speak to this one")
    return None


def _harden(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
