"""The Flask app: its routes, their OpenAPI document, and what every response carries."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import metadata

import sqlalchemy as sa
from flask import Response, request
from flask_openapi3.models.info import Info
from flask_openapi3.models.schema import Schema
from flask_openapi3.openapi import OpenAPI
from flask_openapi3.utils import get_model_schema
from pydantic import BaseModel

from broker.client import check
from core.errors import ExtraMissing
from db.session import reading
from producer.web import problems
from producer.web.api import batches, handoffs, questions, results, schemas, webhook_deliveries
from producer.web.auth import authorization, sessions
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import RequestContext, current_context
from producer.web.openai import batches as openai_batches
from producer.web.openai import files
from producer.web.pages import page

LARGEST_BODY = 8 << 20  # bytes of what is no upload: it is held in memory
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_TLS_ONLY = "max-age=31536000"
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Of the document's own pages, which are a library's: it styles inline, and its scripts are named.
_DOCUMENT = (
    f"{_NO_PAGE}; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " script-src 'self'"
)
_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


class Health(BaseModel):
    """The database and Redis serve."""

    status: str


def create_app(surroundings: RequestContext) -> OpenAPI:
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
    authorization.install(app)
    app.after_request(_harden)
    for api in (
        m.api
        for m in (questions, batches, webhook_deliveries, results, handoffs, files, openai_batches)
    ):
        app.register_api(api)
    app.register_blueprint(page)
    if surroundings.settings.oidc_issuer is not None:
        _let_sign_in(app, surroundings)
    # Of what a view reads by itself.
    for shape in (schemas.NewQuestions,):
        schema = get_model_schema(shape)
        parts = {shape.__name__: schema, **schema.pop("$defs", {})}
        app.components_schemas.update({name: Schema(**part) for name, part in parts.items()})
    app.get(
        "/v1/health",
        summary="Whether the database and Redis serve",
        responses={"200": Health, **problems.responses(405, 422, 500, 503)},
    )(health)
    return app


def _let_sign_in(app: OpenAPI, surroundings: RequestContext) -> None:
    try:
        from producer.web.pages import oidc  # few have an issuer, and it takes long to import
    except ModuleNotFoundError as error:
        raise ExtraMissing("authlib", "oidc") from error
    oidc.install(app, surroundings.settings)


@requires_scope(None)
def health() -> dict[str, str]:
    """Tell whether requests that need them would succeed."""
    s = current_context()
    check(s.client, s.settings)
    with reading(s.engine) as conn:
        conn.execute(sa.select(1))
    return {"status": "ok"}


def _harden(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if current_context().settings.web_cert is not None:
        response.headers["Strict-Transport-Security"] = _TLS_ONLY
    policy = _document_policy(response) if request.blueprint in authorization.PUBLIC else _NO_PAGE
    response.headers.setdefault("Content-Security-Policy", policy)
    return response


def _document_policy(response: Response) -> str:
    if response.mimetype != "text/html":
        return _NO_PAGE
    scripts = filter(None, _SCRIPT.findall(response.get_data(as_text=True)))
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in scripts)
    return " ".join([_DOCUMENT, *(f"'sha256-{digest.decode()}'" for digest in digests)])
