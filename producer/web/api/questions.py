"""`/v1/questions`: one question, answered if that takes no longer than the caller waits."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, jsonify, url_for
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field

from core.domain.api_key import Scope
from core.errors import SourceInvalid
from producer.submission import ask
from producer.submission.ask import SingleQuestion
from producer.web import problems
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.auth.idempotency import Idempotency, token_of
from producer.web.context import current_context

LONGEST_WAIT = 30  # seconds; a waiting caller holds a thread

api = APIBlueprint(
    "questions",
    __name__,
    url_prefix="/v1/questions",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)


class AskBody(BaseModel):
    """One question."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1)]


class WaitQuery(BaseModel):
    """How long to wait."""

    model_config = ConfigDict(extra="forbid")

    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Seconds.")] = 5.0


class QuestionPath(BaseModel):
    """The name of a question's batch."""

    name: str


class AnswerResponse(BaseModel):
    """A question and its result; `status` is null until there is one."""

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


_SCHEMA = {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}
_HEADERS = {name: {"schema": {"type": "string"}} for name in ("Location", "Retry-After")}
_TOLD: ResponseDict = {
    "200": AnswerResponse,
    "202": {"description": "Not final yet", "content": _SCHEMA, "headers": _HEADERS},
}


@api.post("", summary="Ask one question", responses=_TOLD)
@requires_scope(Scope.SUBMIT)
def post(header: Idempotency, body: AskBody, query: WaitQuery) -> Response:
    """Accept the question; tell its result, or with 202 where that will be found."""
    s = current_context()
    source = f"ask, key {caller().name}"
    token = token_of(header)
    try:
        batch = ask.submit_question(
            s.engine,
            s.client,
            s.settings,
            body.question,
            source=source,
            token=token,
            clock=s.clock,
        )
    except SourceInvalid as error:
        problems.refuse(422, error.problem, field="question")
    s.waiter.wait(batch.id, query.wait)
    return _told(ask.answered(s.engine, batch.name))


@api.get("/<name>", summary="Look one question up", responses=_TOLD)
@requires_scope(Scope.SUBMIT)
def get(path: QuestionPath) -> Response:
    """Tell a question's result, or with 202 that there is none yet."""
    return _told(ask.answered(current_context().engine, path.name))


def _told(asked: SingleQuestion) -> Response:
    document = asked.document()
    moment = document["answered_at"]
    link = url_for("questions.get", name=asked.batch.name)
    told = jsonify({**document, "answered_at": moment and moment.isoformat(), "link": link})
    if asked.result is None:
        told.status_code = 202
        told.headers["Location"] = link
        told.headers["Retry-After"] = "1"
    return told
