"""The pages that ask one question and show its answer with the source."""

from __future__ import annotations

import uuid

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.errors import SourceInvalid
from producer.batches.status import batch_status
from producer.submission import ask as asking
from producer.web.api.batches import event_stream
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page

_WAIT_SECONDS = 5.0  # for the answer, until the page shows that the question waits


@page.get("/ask")
@requires_scope(Scope.SUBMIT)
def ask() -> str:
    """Show the form."""
    return render_template("ask.html", text="", token=uuid.uuid4().hex, fault=None)


@page.post("/ask")
@requires_scope(Scope.SUBMIT, recorded=True)
def put() -> AnyResponse | tuple[str, int]:
    """Store the question once for each form, then wait briefly for the answer."""
    context = current_context()
    text, token = request.form.get("question", ""), request.form.get("token", "")
    try:
        batch = asking.submit_question(
            context.producer,
            text,
            source=f"page, key {caller().name}",
            token=uuid.UUID(token).hex,
            clock=context.clock,
        )
    except SourceInvalid as error:
        return render_template("ask.html", text=text, token=token, fault=error.problem), 422
    except ValueError:  # the token is not from the form
        return redirect(url_for("page.ask"), 303)
    context.waiter.wait(batch.id, _WAIT_SECONDS)
    return redirect(url_for("page.question", name=batch.name), 303)


@page.get("/questions/<name>")
@requires_scope(Scope.SUBMIT)
def question(name: str) -> str:
    """Show a question and its result, or that it waits."""
    question, text = asking.find_question_and_text(current_context().engine, name)
    return render_template("question.html", question=question, text=text)


@page.get("/questions/<name>/events")
@requires_scope(Scope.SUBMIT)
def question_events(name: str) -> AnyResponse:
    """Send an event when the question is final."""
    context = current_context()
    question = asking.find_question(context.engine, name)
    return event_stream(batch_status(context.engine, str(question.batch.id), context.clock))
