"""Output of the commands on versions: text, or one JSON document.

Text is 80 columns wide. Not covered: output of builds and evaluations (`build_display`) and
of comparisons (`diff_display`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from core import console
from core.domain.model_version import PromotionKind

if TYPE_CHECKING:
    from core.domain.model_version import ModelVersion, PromotionEvent
    from db.operations.version_rollback import RolledBack
    from worker.lifecycle.evaluation.gate import GateResult, MetricComparison
    from worker.lifecycle.promotion.promote import PromotionResult
    from worker.model.bundle.bundle import Bundle

_KINDS = {
    PromotionKind.PROMOTED: "promoted",
    PromotionKind.CANARY: "canary",
    PromotionKind.ROLLED_BACK: "rolled back to",
    PromotionKind.CANARY_WITHDRAWN: "canary withdrawn",
}


def show_versions(versions: Sequence[ModelVersion], *, as_json: bool) -> None:
    """Print one row per version."""
    if as_json:
        console.print_json([summary(version) for version in versions])
        return
    if not versions:
        console.out.print(
            "No model yet. Build one: answermill model build --knowledge KB.jsonl --name NAME"
        )
        return
    table = Table()
    table.add_column("version", overflow="fold")
    for title in ("state", "built (UTC)", "phrasings", "digest"):
        table.add_column(title, no_wrap=True)
    for version in versions:
        built = f"{version.created_at:%Y-%m-%d %H:%M}"
        phrasings = str(version.metrics.get("phrasings", "-"))
        table.add_row(str(version), _state(version), built, phrasings, version.digest[:8])
    console.out.print(table, soft_wrap=False)


def show_version(
    version: ModelVersion, bundle: Bundle, history: Sequence[PromotionEvent], *, as_json: bool
) -> None:
    """Print a version, its verified bundle's manifest, and its promotions."""
    if as_json:
        manifest = asdict(bundle.manifest)
        document = summary(version) | {"path": str(bundle.path), "manifest": manifest}
        console.print_json(document | {"moves": [asdict(event) for event in history]})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(version, bundle).items():
        table.add_row(name, str(value))
    for number, event in enumerate(history):
        table.add_row("" if number else "history", "; ".join(_event(event)))
    console.out.print(table, soft_wrap=False)


def _facts(version: ModelVersion, bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    facts = {
        "version": version,
        "state": _state(version),
        "digest": version.digest,
        "built": f"{version.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "promoted": version.promoted_at
        and f"{version.promoted_at:%Y-%m-%d %H:%M:%S} UTC by {version.promoted_by}",
        "encoder": f"{manifest.encoder}, {manifest.engine} {manifest.precision}",
        "knowledge base": f"{manifest.entries} entries, {manifest.phrasings} phrasings",
        "threshold": manifest.threshold,
        "bundle": f"{bundle.path}, verified",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _event(event: PromotionEvent) -> Iterator[str]:
    share = "" if event.share is None else f" {percent(event.share)}"
    yield f"{event.at:%Y-%m-%d %H:%M} {_KINDS[event.kind]} {event.name}@{event.version}{share}"
    is_canary = event.kind in (PromotionKind.CANARY, PromotionKind.CANARY_WITHDRAWN)
    if event.previous_version is not None:
        relation = "production" if is_canary else "replaced"
        yield f"{relation} {event.name}@{event.previous_version}"
    yield f"by {event.by}"
    if event.forced:
        yield "forced"
    if event.reason:
        yield f"reason: {event.reason}"
    for figure in (event.gate or {}).get("compared", []):
        if figure["worse"]:
            yield f"{figure['figure']} {figure['candidate']} against {figure['production']}"


def show_promoted(result: PromotionResult, *, as_json: bool) -> None:
    """Print the comparison of the gate, and the version that is in production."""
    version, gate = result.version, result.gate
    if as_json:
        document = None if gate is None else gate.document()
        console.print_json(summary(version) | {"moved": gate is not None, "gate": document})
        return
    if gate is None:
        console.out.print(f"{version} is in production already.")
        return
    if gate.compared:
        console.out.print(_comparison(version, gate), soft_wrap=False)
    if version.canary_share is None:
        console.out.print(f"{version} is in production now.")
    else:
        share = percent(version.canary_share)
        console.out.print(f"{version} is a canary now: it answers {share} of the jobs.")


def _comparison(version: ModelVersion, gate: GateResult) -> Table:
    table = Table(title=f"Compared on {gate.basis}", title_justify="left")
    table.add_column("metric", no_wrap=True)
    for title in (gate.production or "production", str(version), "margin"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("")
    for metric in gate.compared:
        values = (_value(metric.production), _value(metric.candidate), _value(metric.margin))
        table.add_row(metric.figure, *values, _outcome(metric))
    return table


def _outcome(metric: MetricComparison) -> str:
    if metric.margin is None:
        return "not judged"
    return "worse" if metric.worse else "ok"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def show_rolled_back(result: RolledBack, *, as_json: bool) -> None:
    """Print the withdrawn version, and the version that is in production."""
    if as_json:
        withdrawn = result.canary and str(result.canary)
        console.print_json(summary(result.version) | {"canary_withdrawn": withdrawn})
    elif result.canary is None:
        console.out.print(f"{result.version} is in production again.")
    else:
        console.out.print(
            f"The canary {result.canary} is withdrawn; {result.version} stays in production."
            f" To roll back {result.version} as well, run the command again."
        )


def percent(share: float) -> str:
    """Return 0.05 as 5%."""
    return f"{100 * share:.4g}%"


def _state(version: ModelVersion) -> str:
    share = "" if version.canary_share is None else f" {percent(version.canary_share)}"
    return f"{version.state}{share}"


def summary(version: ModelVersion) -> dict[str, Any]:
    """Return a version as the fields of a JSON document."""
    return {
        "model": str(version),
        "name": version.name,
        "version": version.version,
        "state": version.state,
        "canary_share": version.canary_share,
        "digest": version.digest,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
        "promoted_by": version.promoted_by,
        **version.metrics,
    }
