"""Routes `/v1/questions`: ask one question and look up its answer.

A request waits for the answer up to `wait` seconds. After that, the client looks the answer up.
"""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, jsonify, url_for
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, Field

from core.domain.api_key import Scope
from core.errors import SourceInvalid
from producer.submission import ask
from producer.submission.ask import SingleQuestion
from producer.web import problems
from producer.web.api.schemas import StrictModel
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.auth.idempotency import IdempotencyHeader, token_of
from producer.web.context import current_context

MAX_WAIT_SECONDS = 30  # a waiting request occupies a thread

api = APIBlueprint(
    "questions",
    __name__,
    url_prefix="/v1/questions",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)


class AskBody(StrictModel):
    """One question."""

    question: Annotated[str, Field(min_length=1)]


class WaitQuery(StrictModel):
    """The time to wait for the answer."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, description="In seconds.")] = 5.0


class QuestionPath(BaseModel):
    """A question, by the name of its batch."""

    name: str


class AnswerResponse(BaseModel):
    """A question and its result. Without a result, `status` is null."""

    batch: int
    name: str
    link: str
    status: str | None
    answer: str | None
    entry_id: str | None
    matched: str | None
    confidence: float | None
    reason: str | None
    error: str | None
    model_version: str | None
    answered_at: str | None
    url: str | None
    runners_up: list[dict[str, Any]] | None


_REF = f"#/components/schemas/{AnswerResponse.__name__}"
_SCHEMA = {"application/json": {"schema": {"$ref": _REF}}}
_HEADERS = {name: {"schema": {"type": "string"}} for name in ("Location", "Retry-After")}
_RESPONSES: ResponseDict = {
    "200": AnswerResponse,
    "202": {"description": "Not final yet", "content": _SCHEMA, "headers": _HEADERS},
}


@api.post("", summary="Ask one question", responses=_RESPONSES)
@requires_scope(Scope.SUBMIT)
def post(header: IdempotencyHeader, body: AskBody, query: WaitQuery) -> Response:
    """Store the question and wait for its result.

    Return 200 with the result, or 202 with the link where the result will be available.
    """
    context = current_context()
    source = f"ask, key {caller().name}"
    try:
        batch = ask.submit_question(
            context.producer,
            body.question,
            source=source,
            token=token_of(header),
            clock=context.clock,
        )
    except SourceInvalid as error:
        problems.refuse(422, error.problem, field="question")
    context.waiter.wait(batch.id, query.wait)
    return _response(ask.find_question(context.engine, batch.name))


@api.get("/<name>", summary="Look up a question", responses=_RESPONSES)
@requires_scope(Scope.SUBMIT)
def get(path: QuestionPath) -> Response:
    """Return 200 with the result, or 202 if there is no result yet."""
    return _response(ask.find_question(current_context().engine, path.name))


def _response(question: SingleQuestion) -> Response:
    document = question.document()
    answered_at = document["answered_at"]
    document["answered_at"] = answered_at and answered_at.isoformat()
    link = url_for("questions.get", name=question.batch.name)
    response = jsonify({**document, "link": link})
    if question.result is None:
        response.status_code = 202
        response.headers["Location"] = link
        response.headers["Retry-After"] = "1"
    return response
