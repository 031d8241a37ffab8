"""The hand-off desk: take a question, answer it, decide what the next version learns."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.domain.handoff import Proposal
from core.errors import EntryUnknown, HandOffTaken, SourceInvalid
from db.queries import handoffs as rows
from db.queries.handoffs import QuestionRef
from db.session import reading, transaction
from producer import handoffs as working
from producer.web import problems
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_SHOWN = 20  # hand-offs of one page
_MOST_COUNTED = 1_000
_PROPOSALS = 100  # of one page
_QUESTION = "/desk/<int(max=9007199254740991):batch>/<int(max=9007199254740991):position>"


@page.get("/desk")
@requires_scope(Scope.DESK)
def desk() -> str:
    """List what waits for a person."""
    s, after = current_context(), _after()
    found = working.waiting(s.engine, s.clock, after=after, limit=_SHOWN, batch_id=None)
    with reading(s.engine) as conn:
        count = rows.waiting_count(conn, _MOST_COUNTED)
        proposed = rows.proposal_counts(conn)[Proposal.PROPOSED]
    return render_template(
        "desk.html", waiting=found, count=count, most=_MOST_COUNTED, proposed=proposed, shown=_SHOWN
    )


@page.post("/desk/next")
@requires_scope(Scope.DESK, recorded=True)
def take_next() -> AnyResponse:
    """Take the hand-off that waits longest."""
    s = current_context()
    place = working.claim_next(s.engine, s.clock, s.settings, caller().name)
    if place is None:
        flash(translate("Nothing waits that nobody holds."))
        return redirect(url_for("page.desk"), 303)
    return _to(place)


@page.post(f"{_QUESTION}/take")
@requires_scope(Scope.DESK, recorded=True)
def take(batch: int, position: int) -> AnyResponse:
    """Take this one."""
    s, place = current_context(), (batch, position)
    try:
        working.claim(s.engine, s.clock, s.settings, place, caller().name)
    except HandOffTaken as error:
        flash(str(error))
        return redirect(url_for("page.desk"), 303)
    return _to(place)


@page.post(f"{_QUESTION}/release")
@requires_scope(Scope.DESK, recorded=True)
def release(batch: int, position: int) -> AnyResponse:
    """Let it go."""
    with transaction(current_context().engine) as conn:
        rows.release(conn, (batch, position), caller().name)
    return redirect(url_for("page.desk"), 303)


@page.get(_QUESTION)
@requires_scope(Scope.DESK)
def hand_off(batch: int, position: int) -> str:
    """Show a hand-off, and what may answer it."""
    return _shown((batch, position))


@page.post(_QUESTION)
@requires_scope(Scope.DESK, recorded=True)
def answer(batch: int, position: int) -> AnyResponse | tuple[str, int]:
    """Store the answer; go on with the next hand-off if that is asked for."""
    s, place, form = current_context(), (batch, position), request.form
    try:
        working.answer(
            s.engine,
            s.clock,
            place,
            form.get("answer", ""),
            entry_id=form.get("entry") or None,
            by=caller().name,
            learn="learn" in form,
        )
    except SourceInvalid as error:
        return _shown(place, error.problem), 422
    except (EntryUnknown, HandOffTaken) as error:
        return _shown(place, str(error)), 409
    flash(translate("Your answer is stored."))
    if "next" in form:
        return take_next()
    return redirect(url_for("page.desk"), 303)


@page.get("/desk/proposals")
@requires_scope(Scope.DESK)
def proposals() -> str:
    """Show what the answers propose to learn."""
    state = request.args.get("state") or Proposal.PROPOSED
    if state not in set(Proposal):
        problems.refuse(422, "no proposal is in that state", field="state")
    with reading(current_context().engine) as conn:
        found = rows.proposals(conn, Proposal(state), limit=_PROPOSALS)
        counts = rows.proposal_counts(conn)
    return render_template("proposals.html", proposals=found, state=state, counts=counts)


@page.post(f"{_QUESTION}/proposal")
@requires_scope(Scope.DESK, recorded=True)
def decide(batch: int, position: int) -> AnyResponse:
    """Accept or reject a proposal."""
    s, state = current_context(), request.form.get("state", "")
    if state not in set(Proposal):
        problems.refuse(422, "no proposal is in that state", field="state")
    now = s.clock()
    with transaction(s.engine) as conn:
        rows.decide(conn, (batch, position), Proposal(state), by=caller().name, now=now)
    return redirect(url_for("page.proposals"), 303)


def _shown(place: QuestionRef, fault: str | None = None) -> str:
    s, words = current_context(), request.args.get("q", "").replace("\0", "")[:200]
    found = working.detail(s.engine, s.clock, place, words)
    return render_template(
        "hand_off.html",
        work=found,
        words=words,
        fault=fault,
        given=request.form,
        mine=found.hand_off.held_by == caller().name,
        minutes=round(s.settings.desk_seconds / 60),
    )


def _to(place: QuestionRef) -> AnyResponse:
    return redirect(url_for("page.hand_off", batch=place[0], position=place[1]), 303)


def _after() -> QuestionRef:
    batch, _, position = request.args.get("after", "0.0").partition(".")
    told = [one[:15] for one in (batch, position) if one.isascii() and one.isdecimal()]
    return (int(told[0]), int(told[1])) if len(told) == len(("batch", "position")) else (0, 0)
