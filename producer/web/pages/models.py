"""Model versions: their figures, who moved them when, and moving them."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.errors import ModelUnknown, PromotionRefused
from producer import promotions
from producer.web import problems
from producer.web.auth.authorization import caller, needs
from producer.web.context import here
from producer.web.pages.layout import page
from producer.web.pages.translation import tr

_LONGEST_REASON = 1_000  # characters
# Of what a build has found, what people compare; the rest is for `model show`.
_FIGURES = {
    "cv_accuracy": "Right entry",
    "cv_precision": "Answers right",
    "cv_coverage": "Answered",
    "near_handoff_recall": "Near, handed off",
}


@page.get("/models")
@needs(Scope.READ)
def models() -> str:
    """Show every model."""
    found = promotions.models(here().engine)
    return render_template("models.html", models=found, figures=_FIGURES)


@page.post("/models/<name>/promote")
@needs(Scope.ADMIN, recorded=True)
def promote(name: str) -> AnyResponse:
    """Put a version into production that the gate has let pass."""
    _check(name)
    spec, by = f"{name}@{request.form.get('version', '')}", f"key {caller().name}"
    try:
        moved = promotions.promote(here().engine, spec, by=by, reason=_reason() or None)
        flash(tr("{version} is in production.", version=moved))
    except (PromotionRefused, ModelUnknown) as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


@page.post("/models/<name>/roll-back")
@needs(Scope.ADMIN, recorded=True)
def roll_back(name: str) -> AnyResponse:
    """Withdraw the canary, or bring the version before back."""
    _check(name)
    reason = _reason()
    if not reason:
        flash(tr("Say why, for the record."))
        return redirect(url_for("page.models"), 303)
    try:
        moved = promotions.roll_back(here().engine, name, by=f"key {caller().name}", reason=reason)
        flash(tr("{version} is in production.", version=moved))
    except ModelUnknown as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


def _check(name: str) -> None:
    if not name.isprintable():
        problems.refuse(404, "no model has that name", field="name")


def _reason() -> str:
    return "".join(c for c in request.form.get("reason", "") if c.isprintable())[:_LONGEST_REASON]
