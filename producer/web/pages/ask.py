"""One question and its answer, with where it comes from."""

from __future__ import annotations

import uuid

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.errors import SourceInvalid
from producer.batches.status import standing
from producer.submission import ask as asking
from producer.web.api.batches import streamed
from producer.web.auth.authorization import caller, needs
from producer.web.context import here
from producer.web.pages.layout import page

_PATIENCE_SECONDS = 5.0


@page.get("/ask")
@needs(Scope.SUBMIT)
def ask() -> str:
    """Ask for a question."""
    return render_template("ask.html", text="", token=uuid.uuid4().hex, fault=None)


@page.post("/ask")
@needs(Scope.SUBMIT, recorded=True)
def put() -> AnyResponse | tuple[str, int]:
    """Accept it, once for each form; show its answer if that comes soon."""
    s = here()
    text, token = request.form.get("question", ""), request.form.get("token", "")
    try:
        batch = asking.put(
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
    s.waiting.wait(batch.id, _PATIENCE_SECONDS)
    return redirect(url_for("page.question", name=batch.name), 303)


@page.get("/questions/<name>")
@needs(Scope.SUBMIT)
def question(name: str) -> str:
    """Show a question and its result, or that there is none yet."""
    found, text = asking.looked_up(here().engine, name)
    return render_template("question.html", asked=found, text=text)


@page.get("/questions/<name>/events")
@needs(Scope.SUBMIT)
def question_events(name: str) -> AnyResponse:
    """Tell when the question is final."""
    s = here()
    found = asking.answered(s.engine, name)
    return streamed(standing(s.engine, str(found.batch.id), s.clock))
