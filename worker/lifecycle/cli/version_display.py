"""What listing and moving versions print: for people within 80 columns, or one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from core import console
from core.domain.model_version import PromotionKind

if TYPE_CHECKING:
    from core.domain.model_version import ModelVersion, PromotionEvent
    from worker.lifecycle.evaluation.gate import GateResult, MetricComparison
    from worker.lifecycle.promotion.promote import PromotionResult
    from worker.lifecycle.promotion.rollback import RolledBack
    from worker.model.bundle.bundle import Bundle

_MOVES = {
    PromotionKind.PROMOTED: "promoted",
    PromotionKind.CANARY: "canary",
    PromotionKind.ROLLED_BACK: "rolled back to",
    PromotionKind.CANARY_WITHDRAWN: "canary withdrawn",
}


def show_versions(found: Sequence[ModelVersion], *, as_json: bool) -> None:
    """Show one row per version."""
    if as_json:
        console.print_json([summary(version) for version in found])
        return
    if not found:
        console.out.print(
            "No model yet. Build one: answermill model build --knowledge KB.jsonl --name NAME"
        )
        return
    table = Table()
    table.add_column("version", overflow="fold")
    for title in ("state", "built (UTC)", "phrasings", "digest"):
        table.add_column(title, no_wrap=True)
    for version in found:
        built = f"{version.created_at:%Y-%m-%d %H:%M}"
        phrasings = str(version.metrics.get("phrasings", "-"))
        table.add_row(str(version), _state(version), built, phrasings, version.digest[:8])
    console.out.print(table, soft_wrap=False)


def show_version(
    version: ModelVersion, bundle: Bundle, moves: Sequence[PromotionEvent], *, as_json: bool
) -> None:
    """Show a version, its whole bundle's manifest and the moves it took part in."""
    if as_json:
        manifest = asdict(bundle.manifest)
        shown = summary(version) | {"path": str(bundle.path), "manifest": manifest}
        console.print_json(shown | {"moves": [asdict(move) for move in moves]})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(version, bundle).items():
        table.add_row(name, str(value))
    for place, move in enumerate(moves):
        table.add_row("" if place else "moves", "; ".join(_told(move)))
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
        "bundle": f"{bundle.path}, whole",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _told(move: PromotionEvent) -> Iterator[str]:
    share = "" if move.share is None else f" {percent(move.share)}"
    yield f"{move.at:%Y-%m-%d %H:%M} {_MOVES[move.kind]} {move.name}@{move.version}{share}"
    beside = move.kind in (PromotionKind.CANARY, PromotionKind.CANARY_WITHDRAWN)
    if move.previous_version is not None:
        yield f"{'beside' if beside else 'before'} {move.name}@{move.previous_version}"
    yield f"by {move.by}"
    if move.forced:
        yield "forced"
    if move.reason:
        yield f"reason: {move.reason}"
    for figure in (move.gate or {}).get("compared", []):
        if figure["worse"]:
            yield f"{figure['figure']} {figure['candidate']} against {figure['production']}"


def show_promoted(done: PromotionResult, *, as_json: bool) -> None:
    """Show what was compared, and what is in production now."""
    version, verdict = done.version, done.gate
    if as_json:
        gate = None if verdict is None else verdict.document()
        console.print_json(summary(version) | {"moved": verdict is not None, "gate": gate})
        return
    if verdict is None:
        console.out.print(f"{version} is in production already.")
        return
    if verdict.compared:
        console.out.print(_comparison(version, verdict), soft_wrap=False)
    if version.canary_share is None:
        console.out.print(f"{version} is in production now.")
    else:
        share = percent(version.canary_share)
        console.out.print(f"{version} is a canary now: it answers {share} of the jobs.")


def _comparison(version: ModelVersion, verdict: GateResult) -> Table:
    table = Table(title=f"Compared on {verdict.basis}", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for title in (verdict.production or "production", str(version), "margin"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("")
    for one in verdict.compared:
        cells = (_value(one.production), _value(one.candidate), _value(one.margin))
        table.add_row(one.figure, *cells, _judgement(one))
    return table


def _judgement(one: MetricComparison) -> str:
    if one.margin is None:
        return "not judged"
    return "worse" if one.worse else "ok"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def show_rolled_back(done: RolledBack, *, as_json: bool) -> None:
    """Show what was withdrawn, and what is in production."""
    if as_json:
        withdrawn = done.canary and str(done.canary)
        console.print_json(summary(done.version) | {"canary_withdrawn": withdrawn})
    elif done.canary is None:
        console.out.print(f"{done.version} is in production again.")
    else:
        console.out.print(
            f"The canary {done.canary} is withdrawn; {done.version} stays in production."
            " To withdraw that, too, roll back once more."
        )


def percent(share: float) -> str:
    """Return 0.05 as 5%."""
    return f"{100 * share:.4g}%"


def _state(version: ModelVersion) -> str:
    share = "" if version.canary_share is None else f" {percent(version.canary_share)}"
    return f"{version.state}{share}"


def summary(version: ModelVersion) -> dict[str, Any]:
    """Return what JSON documents tell of a version."""
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
