"""Routes `/v1/desk`: answer hand-offs and decide on proposals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.types import ResponseDict
from pydantic import AfterValidator, BaseModel, Field

from core.domain.api_key import Scope
from core.domain.handoff import Proposal
from db.queries import handoffs as rows
from db.queries import knowledge_entries
from db.session import reading, transaction
from producer import handoffs
from producer.question_files.validation import storage_fault
from producer.web import problems
from producer.web.api.schemas import JsonInteger, StrictModel
from producer.web.auth.authorization import SCHEME, caller, requires_scope
from producer.web.context import current_context

api = APIBlueprint(
    "desk",
    __name__,
    url_prefix="/v1/desk",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)

State = Literal["proposed", "accepted", "rejected"]


class HandOffPath(BaseModel):
    """A question, by the id of its batch and its position."""

    batch: JsonInteger
    position: JsonInteger


class ListHandOffsQuery(StrictModel):
    """A page of the list of hand-offs."""

    batch: Annotated[JsonInteger, Field(description="Only hand-offs of this batch id.")] | None = (
        None
    )
    after: Annotated[
        str,
        Field(
            pattern=r"^[0-9]{1,15}\.[0-9]{1,15}$", description="Value of `next`: BATCH.POSITION."
        ),
    ] = "0.0"
    limit: Annotated[int, Field(ge=1, le=100)] = 20


def _storable(value: str) -> str:
    if fault := storage_fault(value):
        raise ValueError(fault)
    return value


Text = Annotated[str, AfterValidator(_storable)]


class SearchEntriesQuery(StrictModel):
    """A search for entries."""

    q: Annotated[Text, Field(max_length=200, description="Words that must all occur.")] = ""
    model: Annotated[Text, Field(max_length=63)] | None = None


class ListProposalsQuery(StrictModel):
    """A selection of proposals."""

    state: State = "proposed"
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class HumanAnswerBody(StrictModel):
    """The answer of an agent: an entry, a text, or both."""

    answer: Annotated[str, Field(max_length=handoffs.LONGEST_ANSWER)] = ""
    entry_id: Annotated[Text, Field(max_length=500)] | None = None
    learn: Annotated[
        bool, Field(description="Propose question and answer for the next model version.")
    ] = True


class DecisionBody(StrictModel):
    """The decision on a proposal."""

    state: State


class HandOffResponse(BaseModel):
    """A question that a human must answer."""

    batch: int
    position: int
    key: str
    question: str
    reason: str | None
    confidence: float | None
    entry_id: str | None
    matched: str | None
    runners_up: list[dict[str, Any]] | None
    model_version: str | None
    held_by: str | None
    handed_off_at: str


class HandOffsResponse(BaseModel):
    """Unanswered hand-offs, oldest batch first."""

    questions: list[HandOffResponse]
    next: Annotated[str, Field(description="Value of `after` for the next page.")]


class HumanAnswerResponse(BaseModel):
    """The answer of an agent."""

    batch: int
    position: int
    answer: str
    entry_id: str | None
    by: str
    at: str
    proposal: str | None


class EntryResponse(BaseModel):
    """An entry of a knowledge base."""

    entry_id: str
    answer: str
    phrasing: str
    url: str | None


class EntriesResponse(BaseModel):
    """Entries of the models in production."""

    entries: list[EntryResponse]


class ProposalResponse(HumanAnswerResponse):
    """A question and answer that a build may learn."""

    question: str
    model: str | None


class ProposalsResponse(BaseModel):
    """Proposals in one state, oldest first."""

    proposals: list[ProposalResponse]


_NO_CONTENT: ResponseDict = {204: {"description": "The hand-off is not claimed"}}


@api.get("/questions", summary="List hand-offs", responses={200: HandOffsResponse})
@requires_scope(Scope.DESK)
def questions(query: ListHandOffsQuery) -> Response:
    """Return unanswered hand-offs. Pass `next` as `after` for the next page."""
    context = current_context()
    batch, position = map(int, query.after.split("."))
    waiting = handoffs.waiting(
        context.engine,
        context.clock,
        after=(batch, position),
        limit=query.limit,
        batch_id=query.batch,
    )
    last = f"{waiting[-1].batch_id}.{waiting[-1].position}" if waiting else query.after
    return jsonify(questions=[handoffs.document(row) for row in waiting], next=last)


@api.post(
    "/questions/<batch>/<position>/claim",
    summary="Claim a hand-off",
    responses={200: HandOffResponse},
)
@requires_scope(Scope.DESK, recorded=True)
def claim(path: HandOffPath) -> Response:
    """Claim a hand-off, so that no other agent can answer it.

    The claim ends after `ANSWERMILL_DESK_SECONDS`.
    """
    context = current_context()
    question = (path.batch, path.position)
    claimed = handoffs.claim(
        context.engine, context.clock, context.settings, question, caller().name
    )
    return jsonify(handoffs.document(claimed))


@api.delete(
    "/questions/<batch>/<position>/claim", summary="Release a hand-off", responses=_NO_CONTENT
)
@requires_scope(Scope.DESK, recorded=True)
def release(path: HandOffPath) -> Response:
    """Release a hand-off, so that other agents can claim it."""
    with transaction(current_context().engine) as conn:
        rows.release(conn, (path.batch, path.position), caller().name)
    return Response(status=204)


@api.post(
    "/questions/<batch>/<position>/answer",
    summary="Answer a hand-off",
    responses={201: HumanAnswerResponse},
)
@requires_scope(Scope.DESK, recorded=True)
def answer(path: HandOffPath, body: HumanAnswerBody) -> Response:
    """Store the answer of an agent, once for each hand-off.

    The result itself does not change. With `learn`, the answer becomes a proposal.
    """
    context = current_context()
    stored = handoffs.answer(
        context.engine,
        context.clock,
        (path.batch, path.position),
        body.answer,
        entry_id=body.entry_id,
        by=caller().name,
        learn=body.learn,
    )
    response = jsonify(_answer(stored))
    response.status_code = 201
    return response


@api.get("/entries", summary="Search entries", responses={200: EntriesResponse})
@requires_scope(Scope.DESK)
def entries(query: SearchEntriesQuery) -> Response:
    """Return entries in production whose id, answer or phrasing has all words."""
    with reading(current_context().engine) as conn:
        entries_found = knowledge_entries.search(
            conn, query.q, model=query.model, limit=handoffs.SEARCH_LIMIT
        )
    return jsonify(entries=[asdict(entry) for entry in entries_found])


@api.get("/proposals", summary="List proposals", responses={200: ProposalsResponse})
@requires_scope(Scope.DESK)
def proposals(query: ListProposalsQuery) -> Response:
    """Return the proposals in one state.

    `answermill model build --learned` includes the accepted proposals.
    """
    with reading(current_context().engine) as conn:
        pairs = rows.proposals(conn, Proposal(query.state), limit=query.limit)
    documents = [{**_answer(row), "question": row.question, "model": row.model} for row in pairs]
    return jsonify(proposals=documents)


@api.post(
    "/proposals/<batch>/<position>",
    summary="Accept or reject a proposal",
    responses={200: HumanAnswerResponse},
)
@requires_scope(Scope.DESK, recorded=True)
def decide(path: HandOffPath, body: DecisionBody) -> Response:
    """Decide if a build with `--learned` includes the proposal."""
    context = current_context()
    question, now = (path.batch, path.position), context.clock()
    with transaction(context.engine) as conn:
        rows.decide(conn, question, Proposal(body.state), by=caller().name, now=now)
        stored = rows.answered(conn, question)
    return jsonify(_answer(stored))


def _answer(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a Row of the table
    columns = {name: getattr(row, name) for name in ("position", "answer", "entry_id", "by")}
    return {"batch": row.batch_id, **columns, "at": row.at.isoformat(), "proposal": row.proposal}
