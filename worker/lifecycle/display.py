"""What `answermill model …` prints: for people within 80 columns, or one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from db import terminal
from db.entities import VersionState

if TYPE_CHECKING:
    from db.entities import ModelVersion
    from worker.lifecycle.build import Built
    from worker.lifecycle.evaluate import Report
    from worker.lifecycle.tune import Tuned
    from worker.model.bundle import Bundle

_MEANINGS = {
    "questions": "questions, labelled",
    "accuracy": "best entry right, in scope",
    "answered": "answered",
    "precision": "right, of the answered",
    "coverage": "answered, in scope",
    "handoff_recall": "handed off, out of scope",
    "auroc": "AUROC, in scope or not",
    "ece": "calibration error",
    "threshold": "threshold",
    "questions_per_second": "questions a second",
}
_SHARES = {"accuracy", "precision", "coverage", "handoff_recall"}


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, nothing elsewhere; yield what to tell done and total to."""
    console = Console(stderr=True)
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def warn_of_shared(shared: Sequence[tuple[str, str, str]]) -> None:
    """Say how many phrasings stand in two entries, and show the first."""
    if shared:
        text, first, second = shared[0]
        terminal.err.print(
            f"warning: {len(shared)} phrasings are in two entries, the first is {text!r}"
            f" in {first} and {second}; they may be handed off as ambiguous"
        )


def show_built(built: Built, seconds: float, *, as_json: bool) -> None:
    """Tell what was built, and whether workers answer with it."""
    version, manifest = built.version, built.bundle.manifest
    production = version.state is VersionState.PRODUCTION
    if as_json:
        terminal.print_json(
            _summary(version) | {"new": built.is_new, "path": str(built.bundle.path)}
        )
        return
    if built.is_new:
        terminal.out.print(
            f"Built {version} in {seconds:.1f} s: {manifest.entries} entries,"
            f" {manifest.phrasings} phrasings, encoder {manifest.encoder}."
        )
        if built.tuned:
            terminal.out.print(_tuning(built.tuned))
        terminal.out.print(f"It hands off what it is less than {manifest.threshold:.0%} sure of.")
    else:
        terminal.out.print(f"The same bundle is {version} already; nothing was added.")
    if production:
        terminal.out.print("It is in production: workers answer with it.")
    else:
        terminal.out.print(f"To answer with it: answermill model promote {version}")


def _tuning(tuned: Tuned) -> str:
    came_to = "helped" if tuned.helped else "didn't help, so the encoder stays as it was"
    return (
        f"Tuning {came_to}: of {tuned.held_out.sum():,} phrasings held out,"
        f" {tuned.after.mean:.1%} then got their own entry, {tuned.before.mean:.1%} before."
    )


def show_report(version: str, report: Report, *, as_json: bool) -> None:
    """Show what was measured."""
    figures = asdict(report)
    if as_json:
        terminal.print_json(figures)
        return
    table = Table(title=f"{version} on {report.questions} labelled questions", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for name, value in figures.items():
        table.add_row(_MEANINGS[name], _figure(name, value))
    terminal.out.print(table, soft_wrap=False)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,}"


def show_versions(found: Sequence[ModelVersion], *, as_json: bool) -> None:
    """Show one row per version."""
    if as_json:
        terminal.print_json([_summary(version) for version in found])
        return
    if not found:
        terminal.out.print(
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
        table.add_row(str(version), version.state, built, phrasings, version.digest[:8])
    terminal.out.print(table, soft_wrap=False)


def show_version(version: ModelVersion, bundle: Bundle, *, as_json: bool) -> None:
    """Show a version and its whole bundle's manifest."""
    manifest = asdict(bundle.manifest)
    if as_json:
        shown = _summary(version) | {"path": str(bundle.path), "manifest": manifest}
        terminal.print_json(shown)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(version, bundle).items():
        table.add_row(name, str(value))
    terminal.out.print(table, soft_wrap=False)


def _facts(version: ModelVersion, bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    facts = {
        "version": version,
        "state": version.state,
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


def _summary(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": str(version),
        "name": version.name,
        "version": version.version,
        "state": version.state,
        "digest": version.digest,
        "created_at": version.created_at,
        "promoted_at": version.promoted_at,
        "promoted_by": version.promoted_by,
        **version.metrics,
    }
