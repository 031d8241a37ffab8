"""`/v1/questions`: one question, answered if that takes no longer than the caller waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from flask import Response, jsonify, url_for
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from producer.ask import Asked, answered, ask
from producer.web.surroundings import here

LONGEST_WAIT = 30  # seconds; a waiting caller holds a thread

api = APIBlueprint("questions", __name__, url_prefix="/v1/questions")

_ANSWERED = {"description": "The result", "content": {"application/json": {}}}
_WAITING = {"description": "Not final yet; Location leads to it", "content": {}}


class Ask(BaseModel):
    """One question."""

    question: str


class Patience(BaseModel):
    """How long to wait."""

    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 5.0


class AskedPath(BaseModel):
    """The batch of one question."""

    batch: str


@api.post("", summary="Ask one question", responses={200: _ANSWERED, 202: _WAITING})
def post(body: Ask, query: Patience) -> Response:
    """Submit it; answer with its result, or with 202 and where that will be."""
    s = here()
    return _told(
        ask(s.engine, s.client, s.settings, body.question, wait=timedelta(seconds=query.wait))
    )


@api.get("/<batch>", summary="One question's result", responses={200: _ANSWERED, 202: _WAITING})
def get(path: AskedPath) -> Response:
    """Look whether it is final."""
    return _told(answered(here().engine, path.batch))


def _told(asked: Asked) -> Response:
    document: dict[str, Any] = asked.document()
    location = url_for("questions.get", batch=asked.batch.id)
    told = jsonify({**document, "link": location})
    if asked.result is None:
        told.status_code = 202
        told.headers["Location"] = location
        told.headers["Retry-After"] = "1"
    return told
