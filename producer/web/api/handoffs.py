"""`/v1/desk`: take what was handed off, answer it, decide what is learned of the answers."""

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
from producer.web.api.schemas import Position, Strict
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
    """A question's batch, by its id, and its position."""

    batch: Position
    position: Position


class ListHandOffsQuery(Strict):
    """Which hand-offs."""

    batch: Annotated[Position, Field(description="A batch's id.")] | None = None
    after: Annotated[
        str,
        Field(pattern=r"^[0-9]{1,15}\.[0-9]{1,15}$", description="The last one: BATCH.POSITION."),
    ] = "0.0"
    limit: Annotated[int, Field(ge=1, le=100)] = 20


def _storable(value: str) -> str:
    if fault := storage_fault(value):
        raise ValueError(fault)
    return value


Text = Annotated[str, AfterValidator(_storable)]


class SearchEntriesQuery(Strict):
    """Which entries."""

    q: Annotated[Text, Field(max_length=200, description="Words that each must be there.")] = ""
    model: Annotated[Text, Field(max_length=63)] | None = None


class ListProposalsQuery(Strict):
    """Which proposals."""

    state: State = "proposed"
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class HumanAnswerBody(Strict):
    """What a person answers: an entry's answer, or a text, or both."""

    answer: Annotated[str, Field(max_length=handoffs.LONGEST_ANSWER)] = ""
    entry_id: Annotated[Text, Field(max_length=500)] | None = None
    learn: Annotated[bool, Field(description="Propose the pair to the next model build.")] = True


class DecisionBody(Strict):
    """What becomes of a proposal."""

    state: State


class HandOffResponse(BaseModel):
    """A question that a person must answer."""

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
    """Hand-offs that nobody has answered, the oldest batch first."""

    questions: list[HandOffResponse]
    next: Annotated[str, Field(description="Where to go on.")]


class HumanAnswerResponse(BaseModel):
    """What a person answered."""

    batch: int
    position: int
    answer: str
    entry_id: str | None
    by: str
    at: str
    proposal: str | None


class EntryResponse(BaseModel):
    """One thing the shop can say."""

    entry_id: str
    answer: str
    phrasing: str
    url: str | None


class EntriesResponse(BaseModel):
    """Entries of the knowledge base in production."""

    entries: list[EntryResponse]


class ProposalResponse(HumanAnswerResponse):
    """A pair that an answer proposes to learn."""

    question: str
    model: str | None


class ProposalsResponse(BaseModel):
    """Proposals in one state, the oldest first."""

    proposals: list[ProposalResponse]


_NOTHING: ResponseDict = {204: {"description": "Let go, or it was nobody's"}}


@api.get("/questions", summary="List hand-offs", responses={200: HandOffsResponse})
@requires_scope(Scope.DESK)
def questions(query: ListHandOffsQuery) -> Response:
    """Tell what waits for a person; go on from `next`."""
    s = current_context()
    batch, position = map(int, query.after.split("."))
    found = handoffs.waiting(
        s.engine, s.clock, after=(batch, position), limit=query.limit, batch_id=query.batch
    )
    last = f"{found[-1].batch_id}.{found[-1].position}" if found else query.after
    return jsonify(questions=[handoffs.document(row) for row in found], next=last)


@api.post(
    "/questions/<batch>/<position>/claim", summary="Take one", responses={200: HandOffResponse}
)
@requires_scope(Scope.DESK, recorded=True)
def claim(path: HandOffPath) -> Response:
    """Hold it for a while (`ANSWERMILL_DESK_SECONDS`), so that no colleague takes it, too."""
    s = current_context()
    place = (path.batch, path.position)
    return jsonify(
        handoffs.document(handoffs.claim(s.engine, s.clock, s.settings, place, caller().name))
    )


@api.delete("/questions/<batch>/<position>/claim", summary="Let go", responses=_NOTHING)
@requires_scope(Scope.DESK, recorded=True)
def release(path: HandOffPath) -> Response:
    """Let colleagues take it."""
    with transaction(current_context().engine) as conn:
        rows.release(conn, (path.batch, path.position), caller().name)
    return Response(status=204)


@api.post(
    "/questions/<batch>/<position>/answer",
    summary="Answer one",
    responses={201: HumanAnswerResponse},
)
@requires_scope(Scope.DESK, recorded=True)
def answer(path: HandOffPath, body: HumanAnswerBody) -> Response:
    """Store the answer beside the result; once. `learn` proposes the pair to the next build."""
    s = current_context()
    stored = handoffs.answer(
        s.engine,
        s.clock,
        (path.batch, path.position),
        body.answer,
        entry_id=body.entry_id,
        by=caller().name,
        learn=body.learn,
    )
    told = jsonify(_answer(stored))
    told.status_code = 201
    return told


@api.get("/entries", summary="Find entries", responses={200: EntriesResponse})
@requires_scope(Scope.DESK)
def entries(query: SearchEntriesQuery) -> Response:
    """Tell entries of the models in production whose id, answer or phrasing has the words."""
    with reading(current_context().engine) as conn:
        found = knowledge_entries.search(conn, query.q, model=query.model, limit=handoffs.FOUND)
    return jsonify(entries=[asdict(one) for one in found])


@api.get("/proposals", summary="List proposals", responses={200: ProposalsResponse})
@requires_scope(Scope.DESK)
def proposals(query: ListProposalsQuery) -> Response:
    """Tell what `answermill model build --learned` takes in, or may."""
    with reading(current_context().engine) as conn:
        found = rows.proposals(conn, Proposal(query.state), limit=query.limit)
    told = [{**_answer(row), "question": row.question, "model": row.model} for row in found]
    return jsonify(proposals=told)


@api.post(
    "/proposals/<batch>/<position>",
    summary="Accept or reject one",
    responses={200: HumanAnswerResponse},
)
@requires_scope(Scope.DESK, recorded=True)
def decide(path: HandOffPath, body: DecisionBody) -> Response:
    """Say whether the next build with `--learned` takes the pair in."""
    s, place, now = current_context(), (path.batch, path.position), current_context().clock()
    with transaction(s.engine) as conn:
        rows.decide(conn, place, Proposal(body.state), by=caller().name, now=now)
        stored = rows.answered(conn, place)
    return jsonify(_answer(stored))


def _answer(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a Row of the table
    told = {name: getattr(row, name) for name in ("position", "answer", "entry_id", "by")}
    return {"batch": row.batch_id, **told, "at": row.at.isoformat(), "proposal": row.proposal}
