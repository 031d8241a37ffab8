"""One question and its answer, with where it comes from."""

from __future__ import annotations

import uuid

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.errors import SourceInvalid
from producer.batches.status import batch_status
from producer.submission import ask as asking
from producer.web.api.batches import streamed
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page

_PATIENCE_SECONDS = 5.0


@page.get("/ask")
@requires_scope(Scope.SUBMIT)
def ask() -> str:
    """Ask for a question."""
    return render_template("ask.html", text="", token=uuid.uuid4().hex, fault=None)


@page.post("/ask")
@requires_scope(Scope.SUBMIT, recorded=True)
def put() -> AnyResponse | tuple[str, int]:
    """Accept it, once for each form; show its answer if that comes soon."""
    s = current_context()
    text, token = request.form.get("question", ""), request.form.get("token", "")
    try:
        batch = asking.submit_question(
            s.engine,
            s.client,
            s.settings,
            text,
            source=f"page, key {caller().name}",
            token=uuid.UUID(token).hex,
            clock=s.clock,
        )
    except SourceInvalid as error:
        told = error.problem
        return render_template("ask.html", text=text, token=token, fault=told), 422
    except ValueError:  # no token of ours
        return redirect(url_for("page.ask"), 303)
    s.waiter.wait(batch.id, _PATIENCE_SECONDS)
    return redirect(url_for("page.question", name=batch.name), 303)


@page.get("/questions/<name>")
@requires_scope(Scope.SUBMIT)
def question(name: str) -> str:
    """Show a question and its result, or that there is none yet."""
    found, text = asking.looked_up(current_context().engine, name)
    return render_template("question.html", asked=found, text=text)


@page.get("/questions/<name>/events")
@requires_scope(Scope.SUBMIT)
def question_events(name: str) -> AnyResponse:
    """Tell when the question is final."""
    s = current_context()
    found = asking.answered(s.engine, name)
    return streamed(batch_status(s.engine, str(found.batch.id), s.clock))
