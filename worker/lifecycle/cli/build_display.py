"""What building and measuring print: for people within 80 columns, or one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from core import console as terminal
from core.domain.model_version import VersionState
from worker.lifecycle.cli.version_display import summary

if TYPE_CHECKING:
    from worker.lifecycle.build.build_bundle import BuildResult
    from worker.lifecycle.evaluation.metrics import EntryFigures, EvaluationReport
    from worker.lifecycle.training.distill import DistillResult
    from worker.lifecycle.training.fine_tune import FineTuneResult
    from worker.model.bundle.bundle import Manifest

_MEANINGS = {
    "questions": "questions, labelled",
    "accuracy": "best entry right, in scope",
    "answered": "answered",
    "precision": "right, of the answered",
    "coverage": "answered, in scope",
    "handoff_recall": "handed off, out of scope",
    "handoff_recall_near": "  near",
    "handoff_recall_far": "  far",
    "auroc": "AUROC, in scope or not",
    "ece": "calibration error",
    "threshold": "threshold",
    "questions_per_second": "questions a second",
    "cascade_share": "answered by the cascade",
}
_SHARES = {
    "accuracy",
    "precision",
    "coverage",
    "handoff_recall",
    "handoff_recall_near",
    "handoff_recall_far",
    "cascade_share",
}
_WORST = 10  # entries that are shown
_SHARED = 5  # phrasings of two entries that are named


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
    """Name phrasings that stand in two entries, with both; how many more there are."""
    if shared:
        named = [f"{text!r} ({first}, {second})" for text, first, second in shared[:_SHARED]]
        more = f" and {len(shared) - _SHARED:,} more" if len(shared) > _SHARED else ""
        terminal.err.print(
            f"warning: in two entries each, so perhaps handed off as ambiguous:"
            f" {', '.join(named)}{more}"
        )


def show_built(built: BuildResult, seconds: float, *, as_json: bool) -> None:
    """Tell what was built, and whether workers answer with it."""
    version, manifest = built.version, built.bundle.manifest
    production = version.state is VersionState.PRODUCTION
    if as_json:
        terminal.print_json(
            summary(version) | {"new": built.is_new, "path": str(built.bundle.path)}
        )
        return
    if built.is_new:
        terminal.out.print(
            f"Built {version} in {seconds:.1f} s: {_counted(manifest.entries, 'entry', 'entries')},"
            f" {_counted(manifest.phrasings, 'phrasing', 'phrasings')}, encoder {manifest.encoder}."
        )
        if built.distilled:
            terminal.out.print(_distilling(built.distilled))
        if built.tuned:
            terminal.out.print(_tuning(built.tuned))
        terminal.out.print(_expected(manifest))
        terminal.out.print(_cascade(manifest.metrics["cascade"]))
        if manifest.conversion:
            terminal.out.print(_drift(manifest.conversion))
    else:
        terminal.out.print(f"The same bundle is {version} already; nothing was added.")
    if production:
        terminal.out.print("It is in production: workers answer with it.")
    else:
        terminal.out.print(f"To answer with it: answermill model promote {version}")


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def show_converted(built: BuildResult, seconds: float, *, as_json: bool) -> None:
    """Tell what a conversion made, and what it changes."""
    version, manifest = built.version, built.bundle.manifest
    if as_json:
        terminal.print_json(
            summary(version)
            | {"new": built.is_new, "path": str(built.bundle.path)}
            | {"conversion": manifest.conversion}
        )
        return
    if not built.is_new:
        terminal.out.print(f"The same bundle is {version} already; nothing was added.")
        return
    kind = f"{manifest.engine} {manifest.precision}"
    terminal.out.print(f"Made {version} in {seconds:.1f} s: its encoder is {kind}.")
    if manifest.conversion:
        terminal.out.print(_drift(manifest.conversion))
    terminal.out.print(f"To answer with it: answermill model promote {version}")


def _drift(conversion: dict[str, Any]) -> str:
    last = conversion["steps"][-1]
    told = (
        f"Against the original, on {last['questions']:,} {conversion['asked']}: cosine"
        f" {last['cosine_mean']:.4f}, the least {last['cosine_least']:.4f};"
        f" {last['changed']:.1%} of {last['clear']:,} clear answers changed"
    )
    if last["accuracy_before"] is None:
        return f"{told}."
    return f"{told}; accuracy {last['accuracy_before']:.4f}, now {last['accuracy_after']:.4f}."


def _cascade(figures: dict[str, Any]) -> str:
    if "off" in figures:
        return f"No cascade: {figures['off']}."
    return (
        f"A cascade answers {figures['share']:.0%} of such phrasings without the encoder,"
        f" {figures['accuracy']:.1%} right; the encoder on the same:"
        f" {figures['encoder_accuracy']:.1%}."
    )


def _distilling(distilled: DistillResult) -> str:
    came_to = "is kept" if distilled.kept else "lost too much, so the encoder stays as it was"
    return (
        f"Distilling to {distilled.layers} of {distilled.of} layers {came_to}: of"
        f" {distilled.held_out:,} phrasings held out, {distilled.after.mean:.1%} got their own"
        f" entry, {distilled.before.mean:.1%} before; cosine {distilled.cosine:.4f}."
    )


def _tuning(tuned: FineTuneResult) -> str:
    came_to = "helped" if tuned.helped else "didn't help, so the encoder stays as it was"
    return (
        f"Tuning {came_to}: of {tuned.held_out.sum():,} phrasings held out,"
        f" {tuned.after.mean:.1%} then got their own entry, {tuned.before.mean:.1%} before."
    )


def _expected(manifest: Manifest) -> str:
    floor = f"It hands off what it is less than {manifest.threshold:.0%} sure of"
    metrics = manifest.metrics
    if not metrics["calibrated"]:
        return (
            f"{floor}. Its confidence is uncalibrated, a guess: there are too few phrasings to"
            " calibrate on; give it more, or labelled questions with --calibrate."
        )
    return (
        f"{floor}: of phrasings that it was made not to know it answers"
        f" {metrics['cv_coverage']:.0%}, and {metrics['cv_precision']:.1%} of the answers are"
        " right."
    )


def show_report(
    version: str, report: EvaluationReport, page: Path | None, *, as_json: bool
) -> None:
    """Show what was measured, and where the page about it is."""
    figures = asdict(report)
    if as_json:
        terminal.print_json(figures)
        return
    table = Table(title=f"{version} on {report.questions} labelled questions", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for name, meaning in _MEANINGS.items():
        table.add_row(meaning, _figure(name, figures[name]))
    for reason, count in report.reasons.items():
        table.add_row(f"hand-offs: {reason.replace('_', ' ')}", f"{count:,}")
    terminal.out.print(table, soft_wrap=False)
    from worker.lifecycle.evaluation.metrics import worst  # numpy with it

    _show_worst(worst(report.entries, _WORST))
    if page:
        terminal.out.print(f"The page is {page}; it quotes questions.")


def _show_worst(entries: Sequence[EntryFigures]) -> None:
    if not entries:
        return
    table = Table(title="The entries with the most questions gone wrong", title_justify="left")
    table.add_column("entry", overflow="fold")
    for title in ("questions", "right", "answered"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("most taken for", overflow="fold")
    for entry in entries:
        counts = (entry.questions, entry.right, entry.answered)
        table.add_row(entry.entry, *map(str, counts), entry.confused_with or "-")
    terminal.out.print(table, soft_wrap=False)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,}"
