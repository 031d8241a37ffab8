"""Output of `model build|convert|evaluate`: text, or one JSON document.

Text is 80 columns wide. Not covered: output of lists and promotions (`version_display`).
"""

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
    from worker.lifecycle.evaluation.metrics import EntryMetrics, EvaluationReport
    from worker.lifecycle.training.distill import DistillResult
    from worker.lifecycle.training.fine_tune import FineTuneResult
    from worker.model.bundle.bundle import Manifest

_MEANINGS = {
    "questions": "labelled questions",
    "accuracy": "best entry right, in scope",
    "answered": "answered",
    "precision": "right, of the answered",
    "coverage": "answered, in scope",
    "handoff_recall": "handed off, out of scope",
    "handoff_recall_near": "  near",
    "handoff_recall_far": "  far",
    "auroc": "AUROC of the scope",
    "ece": "calibration error",
    "threshold": "threshold",
    "questions_per_second": "questions per second",
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
_MAX_WORST = 10  # entries
_MAX_SHARED = 5  # phrasings


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal.

    Yields the function that sets the done and total counts.
    """
    console = Console(stderr=True)
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def warn_of_shared(shared: Sequence[tuple[str, str, str]]) -> None:
    """Warn of phrasings that two entries share."""
    if shared:
        named = [f"{text!r} ({first}, {second})" for text, first, second in shared[:_MAX_SHARED]]
        more = f" and {len(shared) - _MAX_SHARED:,} more" if len(shared) > _MAX_SHARED else ""
        terminal.err.print(
            f"warning: phrasings of two entries, which may be handed off as ambiguous:"
            f" {', '.join(named)}{more}"
        )


def show_built(built: BuildResult, seconds: float, *, as_json: bool) -> None:
    """Print the version that was built, and the command that promotes it."""
    version = built.version
    if as_json:
        terminal.print_json(
            summary(version) | {"new": built.is_new, "path": str(built.bundle.path)}
        )
        return
    if built.is_new:
        _show_new(built, seconds)
    else:
        terminal.out.print(_nothing_added(built))
    if version.state is VersionState.PRODUCTION:
        terminal.out.print("It is in production: workers answer with it.")
    else:
        terminal.out.print(_promote_hint(built))


def _show_new(built: BuildResult, seconds: float) -> None:
    manifest, training = built.bundle.manifest, built.training
    entries = _count(manifest.entries, "entry", "entries")
    phrasings = _count(manifest.phrasings, "phrasing", "phrasings")
    terminal.out.print(
        f"Built {built.version} in {seconds:.1f} s: {entries}, {phrasings},"
        f" encoder {manifest.encoder}."
    )
    if training.distilled:
        terminal.out.print(_distillation(training.distilled))
    if training.tuned:
        terminal.out.print(_tuning(training.tuned))
    terminal.out.print(_expectation(manifest))
    terminal.out.print(_cascade(manifest.metrics["cascade"]))
    if manifest.conversion:
        terminal.out.print(_drift(manifest.conversion))


def _count(count: int, singular: str, plural: str) -> str:
    return f"{count:,} {singular if count == 1 else plural}"


def _nothing_added(built: BuildResult) -> str:
    return f"The same bundle is {built.version} already; nothing was added."


def _promote_hint(built: BuildResult) -> str:
    return f"To put it into production: answermill model promote {built.version}"


def show_converted(built: BuildResult, seconds: float, *, as_json: bool) -> None:
    """Print the converted version, and the drift of its answers."""
    version, manifest = built.version, built.bundle.manifest
    if as_json:
        terminal.print_json(
            summary(version)
            | {"new": built.is_new, "path": str(built.bundle.path)}
            | {"conversion": manifest.conversion}
        )
        return
    if not built.is_new:
        terminal.out.print(_nothing_added(built))
        return
    kind = f"{manifest.engine} {manifest.precision}"
    terminal.out.print(f"Made {version} in {seconds:.1f} s: its encoder is {kind}.")
    if manifest.conversion:
        terminal.out.print(_drift(manifest.conversion))
    terminal.out.print(_promote_hint(built))


def _drift(conversion: dict[str, Any]) -> str:
    last = conversion["steps"][-1]
    drift = (
        f"Compared with the original on {last['questions']:,} {conversion['asked']}: cosine"
        f" {last['cosine_mean']:.4f} (mean), {last['cosine_least']:.4f} (least);"
        f" {last['changed']:.1%} of {last['clear']:,} clear answers changed"
    )
    if last["accuracy_before"] is None:
        return f"{drift}."
    return f"{drift}; accuracy {last['accuracy_before']:.4f}, now {last['accuracy_after']:.4f}."


def _cascade(metrics: dict[str, Any]) -> str:
    if "off" in metrics:
        return f"No cascade: {metrics['off']}."
    return (
        f"The cascade answers {metrics['share']:.0%} of left-out phrasings without the encoder,"
        f" {metrics['accuracy']:.1%} of them right. The encoder on the same:"
        f" {metrics['encoder_accuracy']:.1%}."
    )


def _distillation(distilled: DistillResult) -> str:
    outcome = "is kept" if distilled.kept else "lost too much, so the encoder stays as it was"
    return (
        f"Distilling to {distilled.layers} of {distilled.of} layers {outcome}: of"
        f" {distilled.held_out:,} phrasings held out, {distilled.after.mean:.1%} got their own"
        f" entry, {distilled.before.mean:.1%} before; cosine {distilled.cosine:.4f}."
    )


def _tuning(tuned: FineTuneResult) -> str:
    outcome = "helped" if tuned.helped else "did not help, so the encoder stays as it was"
    return (
        f"Tuning {outcome}: of {tuned.held_out.sum():,} phrasings held out,"
        f" {tuned.after.mean:.1%} then got their own entry, {tuned.before.mean:.1%} before."
    )


def _expectation(manifest: Manifest) -> str:
    floor = f"It hands off questions below a confidence of {manifest.threshold:.0%}"
    metrics = manifest.metrics
    if not metrics["calibrated"]:
        return (
            f"{floor}. The confidence is not calibrated, because there are too few phrasings."
            " Add phrasings, or labelled questions with --calibrate."
        )
    return (
        f"{floor}. Of left-out phrasings it answers {metrics['cv_coverage']:.0%}, and"
        f" {metrics['cv_precision']:.1%} of the answers are right."
    )


def show_report(
    version: str, report: EvaluationReport, page: Path | None, *, as_json: bool
) -> None:
    """Print the metrics, and the path of the report page."""
    metrics = asdict(report)
    if as_json:
        terminal.print_json(metrics)
        return
    table = Table(title=f"{version} on {report.questions} labelled questions", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, meaning in _MEANINGS.items():
        table.add_row(meaning, _value(name, metrics[name]))
    for reason, count in report.reasons.items():
        table.add_row(f"hand-offs: {reason.replace('_', ' ')}", f"{count:,}")
    terminal.out.print(table, soft_wrap=False)
    from worker.lifecycle.evaluation.metrics import worst  # imports numpy

    _show_worst(worst(report.entries, _MAX_WORST))
    if page:
        terminal.out.print(f"The report is {page}. It quotes questions.")


def _show_worst(entries: Sequence[EntryMetrics]) -> None:
    if not entries:
        return
    table = Table(title="The entries with the most wrong questions", title_justify="left")
    table.add_column("entry", overflow="fold")
    for title in ("questions", "right", "answered"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("most confused with", overflow="fold")
    for entry in entries:
        counts = (entry.questions, entry.right, entry.answered)
        table.add_row(entry.entry, *map(str, counts), entry.confused_with or "-")
    terminal.out.print(table, soft_wrap=False)


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,}"
