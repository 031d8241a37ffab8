"""The pages of the hand-off desk: hand-offs and proposals."""

from __future__ import annotations

import re

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.domain.handoff import Proposal
from core.errors import EntryUnknown, HandOffTaken, SourceInvalid
from db.queries import handoffs as rows
from db.queries.handoffs import QuestionRef
from db.session import reading, transaction
from producer import handoffs as desk_work
from producer.web import problems
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_PAGE_SIZE = 20  # hand-offs
_COUNT_LIMIT = 1_000  # waiting hand-offs; counting more would slow the page down
_PROPOSALS_PAGE_SIZE = 100
_MAX_SEARCH = 200  # characters
_AFTER = re.compile(r"([0-9]{1,15})[0-9]*\.([0-9]{1,15})[0-9]*")  # longer numbers are cut
_STATES = f"use one of {', '.join(Proposal)}"
_QUESTION_PATH = "/desk/<int(max=9007199254740991):batch>/<int(max=9007199254740991):position>"


@page.get("/desk")
@requires_scope(Scope.DESK)
def desk() -> str:
    """List the hand-offs that wait for an answer."""
    context = current_context()
    waiting = desk_work.waiting(
        context.engine, context.clock, after=_after(), limit=_PAGE_SIZE, batch_id=None
    )
    with reading(context.engine) as conn:
        count = rows.waiting_count(conn, _COUNT_LIMIT)
        proposed = rows.proposal_counts(conn)[Proposal.PROPOSED]
    return render_template(
        "desk.html",
        waiting=waiting,
        count=count,
        count_limit=_COUNT_LIMIT,
        proposed=proposed,
        page_size=_PAGE_SIZE,
    )


@page.post("/desk/next")
@requires_scope(Scope.DESK, recorded=True)
def take_next() -> AnyResponse:
    """Claim the hand-off that has waited longest."""
    context = current_context()
    question = desk_work.claim_next(context.engine, context.clock, context.settings, caller().name)
    if question is None:
        flash(translate("No question is available to take."))
        return redirect(url_for("page.desk"), 303)
    return _to_hand_off(question)


@page.post(f"{_QUESTION_PATH}/take")
@requires_scope(Scope.DESK, recorded=True)
def take(batch: int, position: int) -> AnyResponse:
    """Claim this hand-off."""
    context, question = current_context(), (batch, position)
    try:
        desk_work.claim(context.engine, context.clock, context.settings, question, caller().name)
    except HandOffTaken as error:
        flash(str(error))
        return redirect(url_for("page.desk"), 303)
    return _to_hand_off(question)


@page.post(f"{_QUESTION_PATH}/release")
@requires_scope(Scope.DESK, recorded=True)
def release(batch: int, position: int) -> AnyResponse:
    """Release this hand-off."""
    with transaction(current_context().engine) as conn:
        rows.release(conn, (batch, position), caller().name)
    return redirect(url_for("page.desk"), 303)


@page.get(_QUESTION_PATH)
@requires_scope(Scope.DESK)
def hand_off(batch: int, position: int) -> str:
    """Show a hand-off and entries that may answer it."""
    return _hand_off_page((batch, position))


@page.post(_QUESTION_PATH)
@requires_scope(Scope.DESK, recorded=True)
def answer(batch: int, position: int) -> AnyResponse | tuple[str, int]:
    """Store the answer, then claim the next hand-off if the form requests it."""
    context, question, form = current_context(), (batch, position), request.form
    try:
        desk_work.answer(
            context.engine,
            context.clock,
            question,
            form.get("answer", ""),
            entry_id=form.get("entry") or None,
            by=caller().name,
            learn="learn" in form,
        )
    except SourceInvalid as error:
        return _hand_off_page(question, error.problem), 422
    except (EntryUnknown, HandOffTaken) as error:
        return _hand_off_page(question, str(error)), 409
    flash(translate("Answer saved."))
    if "next" in form:
        return take_next()
    return redirect(url_for("page.desk"), 303)


@page.get("/desk/proposals")
@requires_scope(Scope.DESK)
def proposals() -> str:
    """List the proposals in one state."""
    state = request.args.get("state") or Proposal.PROPOSED
    if state not in set(Proposal):
        problems.refuse(422, "unknown state", field="state", hint=_STATES)
    with reading(current_context().engine) as conn:
        pairs = rows.proposals(conn, Proposal(state), limit=_PROPOSALS_PAGE_SIZE)
        counts = rows.proposal_counts(conn)
    return render_template("proposals.html", proposals=pairs, state=state, counts=counts)


@page.post(f"{_QUESTION_PATH}/proposal")
@requires_scope(Scope.DESK, recorded=True)
def decide(batch: int, position: int) -> AnyResponse:
    """Accept or reject a proposal."""
    context, state = current_context(), request.form.get("state", "")
    if state not in set(Proposal):
        problems.refuse(422, "unknown state", field="state", hint=_STATES)
    now = context.clock()
    with transaction(context.engine) as conn:
        rows.decide(conn, (batch, position), Proposal(state), by=caller().name, now=now)
    return redirect(url_for("page.proposals"), 303)


def _hand_off_page(question: QuestionRef, fault: str | None = None) -> str:
    context = current_context()
    words = request.args.get("q", "").replace("\0", "")[:_MAX_SEARCH]
    detail = desk_work.detail(context.engine, context.clock, question, words)
    return render_template(
        "hand_off.html",
        detail=detail,
        words=words,
        fault=fault,
        form=request.form,
        mine=detail.hand_off.held_by == caller().name,
        minutes=round(context.settings.desk_seconds / 60),
    )


def _to_hand_off(question: QuestionRef) -> AnyResponse:
    batch, position = question
    return redirect(url_for("page.hand_off", batch=batch, position=position), 303)


def _after() -> QuestionRef:
    match = _AFTER.fullmatch(request.args.get("after", ""))
    return (int(match[1]), int(match[2])) if match else (0, 0)
