"""Model versions: their figures, who moved them when, and moving them."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.errors import ModelUnknown, PromotionRefused
from producer import promotions
from producer.web import problems
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_LONGEST_REASON = 1_000  # characters
# Of what a build has found, what people compare; the rest is for `model show`.
_FIGURES = {
    "cv_accuracy": "Right entry",
    "cv_precision": "Answers right",
    "cv_coverage": "Answered",
    "near_handoff_recall": "Near, handed off",
}


@page.get("/models")
@requires_scope(Scope.READ)
def models() -> str:
    """Show every model."""
    found = promotions.model_overviews(current_context().engine)
    return render_template("models.html", models=found, figures=_FIGURES)


@page.post("/models/<name>/promote")
@requires_scope(Scope.ADMIN, recorded=True)
def promote(name: str) -> AnyResponse:
    """Put a version into production that the gate has let pass."""
    _check(name)
    spec, by = f"{name}@{request.form.get('version', '')}", f"key {caller().name}"
    try:
        moved = promotions.promote(current_context().engine, spec, by=by, reason=_reason() or None)
        flash(translate("{version} is in production.", version=moved))
    except (PromotionRefused, ModelUnknown) as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


@page.post("/models/<name>/roll-back")
@requires_scope(Scope.ADMIN, recorded=True)
def roll_back(name: str) -> AnyResponse:
    """Withdraw the canary, or bring the version before back."""
    _check(name)
    reason = _reason()
    if not reason:
        flash(translate("Say why, for the record."))
        return redirect(url_for("page.models"), 303)
    try:
        moved = promotions.roll_back(
            current_context().engine, name, by=f"key {caller().name}", reason=reason
        )
        flash(translate("{version} is in production.", version=moved))
    except ModelUnknown as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


def _check(name: str) -> None:
    if not name.isprintable():
        problems.refuse(404, "no model has that name", field="name")


def _reason() -> str:
    return "".join(c for c in request.form.get("reason", "") if c.isprintable())[:_LONGEST_REASON]
