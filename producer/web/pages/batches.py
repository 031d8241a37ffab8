"""The pages of batches: live progress and results."""

from __future__ import annotations

from math import isfinite, nan

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.domain.result import Status
from producer.batches import cancel as cancelling
from producer.batches.status import batch_status, newest
from producer.results.pages import page_of
from producer.web import problems
from producer.web.api.batches import event_stream
from producer.web.api.results import download_response
from producer.web.auth.authorization import requires_scope
from producer.web.context import current_context
from producer.web.live.server_sent_events import MAX_BATCHES
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_PAGE_SIZE = 20  # batches or results


@page.get("/batches")
@requires_scope(Scope.READ)
def batches() -> str:
    """List batches, newest first."""
    statuses = newest(current_context().engine, _PAGE_SIZE, _number("before"))
    return render_template("batches.html", batches=statuses, full=len(statuses) == _PAGE_SIZE)


@page.get("/events")
@requires_scope(Scope.READ)
def events() -> Response:
    """Send the progress of some batches as events."""
    context = current_context()
    refs = list(dict.fromkeys(request.args.getlist("batch")))[:MAX_BATCHES]
    return event_stream(*(batch_status(context.engine, ref, context.clock) for ref in refs))


@page.get("/batches/<batch>")
@requires_scope(Scope.READ)
def batch(batch: str) -> str:
    """Show the status of a batch and a page of its results."""
    context = current_context()
    batch_now = batch_status(context.engine, batch, context.clock)
    status = request.args.get("status") or None
    if status is not None and status not in set(Status):
        problems.refuse(
            422, "unknown status", field="status", hint=f"use one of {', '.join(Status)}"
        )
    least, most = _share("least"), _share("most")
    results, finished = page_of(
        context.engine,
        str(batch_now.batch.id),
        since=_number("since") or 0,
        status=None if status is None else Status(status),
        limit=_PAGE_SIZE,
        confidence=(least, most),
    )
    return render_template(
        "batch.html",
        batch_status=batch_now,
        results=results,
        more=len(results) == _PAGE_SIZE and not finished,
        statuses=list(Status),
        chosen={
            "status": status,
            "least": request.args.get("least"),
            "most": request.args.get("most"),
        },
        filtered=bool(status or least is not None or most is not None),
    )


@page.get("/batches/<batch>/results.csv")
@requires_scope(Scope.READ)
def download_batch(batch: str) -> Response:
    """Download all results so far."""
    return download_response(batch, "csv")


@page.post("/batches/<batch>/cancel")
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel_batch(batch: str) -> AnyResponse:
    """Cancel the questions that have not started."""
    cancelling.cancel(current_context().engine, batch)
    flash(translate("Waiting questions were cancelled."))
    return redirect(url_for("page.batch", batch=batch), 303)


def _number(name: str) -> int | None:
    value = request.args.get(name)
    if not value:
        return None
    if not (value.isascii() and value.isdecimal()) or int(value[:20]) >= 1 << 62:
        problems.refuse(422, "not a whole number", field=name)
    return int(value)


def _share(name: str) -> float | None:
    percent = request.args.get(name)
    if not percent:
        return None
    try:
        share = float(percent) / 100
    except ValueError:
        share = nan
    if not isfinite(share):
        problems.refuse(422, "not a number", field=name)
    return share
