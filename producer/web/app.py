"""The Flask app: routes, their OpenAPI document and the security headers.

`create_app` takes an open `RequestContext` and connects to nothing itself.

Not covered: the server that runs the app (`server`).
"""

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
from producer.web.api import batches, handoffs, questions, results, webhook_deliveries
from producer.web.api.schemas import QuestionsBody
from producer.web.auth import authorization, sessions
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import RequestContext, current_context
from producer.web.openai import batches as openai_batches
from producer.web.openai import files as openai_files
from producer.web.pages import page

MAX_BODY_BYTES = 8 << 20  # of a request that is not an upload: it is held in memory
_API_MODULES = (
    questions,
    batches,
    webhook_deliveries,
    results,
    handoffs,
    openai_files,
    openai_batches,
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_TLS_ONLY = "max-age=31536000"
_API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# The pages of the OpenAPI document come from a library. They use inline styles, and their inline
# scripts are allowed by digest.
_DOCUMENT_POLICY = (
    f"{_API_POLICY}; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " script-src 'self'"
)
_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


class HealthResponse(BaseModel):
    """The database and Redis are available."""

    status: str


def create_app(context: RequestContext) -> OpenAPI:
    """Return the app that serves requests with this context."""
    app = OpenAPI(
        __name__,
        info=Info(title="Answermill", version=metadata.version("answermill")),
        security_schemes={SCHEME: {"type": "http", "scheme": "bearer"}},
        validation_error_callback=problems.invalid,
        validation_error_model=problems.Problem,
        static_folder=None,
        doc_prefix="/v1/docs",
    )
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, PROPAGATE_EXCEPTIONS=False)
    app.url_map.merge_slashes = False  # merging answers with a redirect
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    app.extensions["answermill"] = context
    problems.install(app)
    sessions.install(app, context.settings)
    authorization.install(app)
    app.after_request(_add_security_headers)
    _add_routes(app, context)
    return app


def _add_routes(app: OpenAPI, context: RequestContext) -> None:
    for module in _API_MODULES:
        app.register_api(module.api)
    app.register_blueprint(page)
    if context.settings.oidc_issuer is not None:
        _add_oidc(app, context)
    _add_schema(app, QuestionsBody)
    app.get(
        "/v1/health",
        summary="Check the database and Redis",
        responses={"200": HealthResponse, **problems.responses(405, 422, 500, 503)},
    )(health)


def _add_oidc(app: OpenAPI, context: RequestContext) -> None:
    try:
        from producer.web.pages import oidc  # optional and slow to import
    except ModuleNotFoundError as error:
        raise ExtraMissing("authlib", "oidc") from error
    oidc.install(app, context.settings)


def _add_schema(app: OpenAPI, model: type[BaseModel]) -> None:
    # The library knows only the models that are parameters of views.
    schema = get_model_schema(model)
    schemas = {model.__name__: schema, **schema.pop("$defs", {})}
    app.components_schemas.update({name: Schema(**part) for name, part in schemas.items()})


@requires_scope(None)
def health() -> dict[str, str]:
    """Return 200 if the database and Redis are available, else 503."""
    context = current_context()
    check(context.client, context.settings)
    with reading(context.engine) as conn:
        conn.execute(sa.select(1))
    return {"status": "ok"}


def _add_security_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if current_context().settings.web_cert is not None:
        response.headers["Strict-Transport-Security"] = _TLS_ONLY
    is_document = request.blueprint in authorization.PUBLIC
    policy = _document_policy(response) if is_document else _API_POLICY
    response.headers.setdefault("Content-Security-Policy", policy)
    return response


def _document_policy(response: Response) -> str:
    if response.mimetype != "text/html":
        return _API_POLICY
    scripts = filter(None, _SCRIPT.findall(response.get_data(as_text=True)))
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in scripts)
    return " ".join([_DOCUMENT_POLICY, *(f"'sha256-{digest.decode()}'" for digest in digests)])
