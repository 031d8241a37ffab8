"""The page of model versions: metrics, history, promotion and rollback."""

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

_MAX_REASON = 1_000  # characters
# The build metrics that users compare. `answermill model show` prints all of them.
METRICS = {
    "cv_accuracy": "Accuracy",
    "cv_precision": "Precision",
    "cv_coverage": "Coverage",
    "near_handoff_recall": "Near misses handed off",
}


@page.get("/models")
@requires_scope(Scope.READ)
def models() -> str:
    """Show all models."""
    overviews = promotions.model_overviews(current_context().engine)
    return render_template("models.html", models=overviews, metrics=METRICS)


@page.post("/models/<name>/promote")
@requires_scope(Scope.ADMIN, recorded=True)
def promote(name: str) -> AnyResponse:
    """Promote a version that has passed the gate."""
    _check_name(name)
    spec, by = f"{name}@{request.form.get('version', '')}", f"key {caller().name}"
    engine, reason = current_context().engine, _reason() or None
    try:
        version = promotions.promote(engine, spec, by=by, reason=reason)
        flash(translate("{version} is in production.", version=version))
    except (PromotionRefused, ModelUnknown) as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


@page.post("/models/<name>/roll-back")
@requires_scope(Scope.ADMIN, recorded=True)
def roll_back(name: str) -> AnyResponse:
    """Withdraw the canary, or restore the previous version."""
    _check_name(name)
    reason = _reason()
    if not reason:
        flash(translate("Enter a reason for the history."))
        return redirect(url_for("page.models"), 303)
    try:
        version = promotions.roll_back(
            current_context().engine, name, by=f"key {caller().name}", reason=reason
        )
        flash(translate("{version} is in production.", version=version))
    except ModelUnknown as error:
        flash(str(error))
    return redirect(url_for("page.models"), 303)


def _check_name(name: str) -> None:
    if not name.isprintable():
        problems.refuse(404, "unknown model", field="name")


def _reason() -> str:
    reason = request.form.get("reason", "")
    return "".join(filter(str.isprintable, reason))[:_MAX_REASON]
