"""Batches with live progress; one batch with its results."""

from __future__ import annotations

from math import isfinite

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.domain.result import Status
from producer.batches import cancel as cancelling
from producer.batches.status import batch_status, newest
from producer.results.pages import page_of
from producer.web import problems
from producer.web.api.batches import streamed
from producer.web.api.results import sent
from producer.web.auth.authorization import requires_scope
from producer.web.context import current_context
from producer.web.live.server_sent_events import MOST
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_SHOWN = 20  # batches, and results, of one page
_LARGEST = 1 << 53


@page.get("/batches")
@requires_scope(Scope.READ)
def batches() -> str:
    """List batches, the newest first."""
    found = newest(current_context().engine, _SHOWN, _number("before"))
    return render_template("batches.html", batches=found, full=len(found) == _SHOWN)


@page.get("/events")
@requires_scope(Scope.READ)
def events() -> Response:
    """Tell where some batches stand as they go on."""
    s = current_context()
    wanted = dict.fromkeys(request.args.getlist("batch"))
    return streamed(*(batch_status(s.engine, one, s.clock) for one in list(wanted)[:MOST]))


@page.get("/batches/<batch>")
@requires_scope(Scope.READ)
def batch(batch: str) -> str:
    """Show where a batch stands, and its results behind a cursor."""
    s = current_context()
    found = batch_status(s.engine, batch, s.clock)
    status = request.args.get("status") or None
    if status is not None and status not in set(Status):
        problems.refuse(422, "no result has that status", field="status")
    least, most = _share("least"), _share("most")
    results, finished = page_of(
        s.engine,
        str(found.batch.id),
        since=_number("since") or 0,
        status=None if status is None else Status(status),
        limit=_SHOWN,
        confidence=(least, most),
    )
    return render_template(
        "batch.html",
        standing=found,
        results=results,
        more=len(results) == _SHOWN and not finished,
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
    """Send every result that is there."""
    return sent(batch, "csv")


@page.post("/batches/<batch>/cancel")
@requires_scope(Scope.SUBMIT, recorded=True)
def cancel_batch(batch: str) -> AnyResponse:
    """Cancel what has not started."""
    cancelling.cancel(current_context().engine, batch)
    flash(translate("What had not started is cancelled."))
    return redirect(url_for("page.batch", batch=batch), 303)


def _number(name: str) -> int | None:
    given = request.args.get(name)
    if not given:
        return None
    if not (given.isascii() and given.isdecimal()) or int(given[:20]) >= 1 << 62:
        problems.refuse(422, "that is no number", field=name)
    return int(given)


def _share(name: str) -> float | None:
    given = request.args.get(name)
    if not given:
        return None
    try:
        value = float(given) / 100
    except ValueError:
        problems.refuse(422, "that is no number", field=name)
    if not isfinite(value):
        problems.refuse(422, "that is no number", field=name)
    return value
