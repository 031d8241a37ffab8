"""The commands `answermill model list|show|promote|rollback|diff`.

Heavy packages are imported when a command runs, so that `answermill --help` does not wait for
torch. Not covered: the rules of promotion (`worker.lifecycle.promotion`), and the comparison
of versions (`worker.lifecycle.evaluation`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.settings.load import load
from worker.lifecycle.cli import version_display as display
from worker.lifecycle.cli.build_display import progress
from worker.process import cpu_threads

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.domain.model_version import ModelVersion
    from core.settings.settings import Settings
    from worker.lifecycle.inputs.question_source import QuestionSource

app = typer.Typer()

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%|(0?\.\d+)")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Version = Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)]
Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Reason, kept permanently in the history.")
]


def parse_share(text: str) -> float:
    """Parse `5%` or `0.05`: above 0 and below 1.

    Raises:
        typer.BadParameter: the text is not such a share.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a share; write 5% or 0.05")
    percent, fraction = match.groups()
    share = float(percent) / 100 if percent else float(fraction)
    if not 0 < share < 1:
        raise typer.BadParameter(
            f"{text!r} is not a share of the jobs; choose one above 0% and below 100%"
        )
    return share


@app.command("list")
def list_versions(*, as_json: Json = False) -> None:
    """List every model version."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import lookup

    display.show_versions(lookup.list_versions(prepare(settings)), as_json=as_json)


@app.command()
def show(version: Version, *, as_json: Json = False) -> None:
    """Show a model version and its promotions, and verify its bundle."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import lookup
    from worker.model.registry import find_bundle

    database = prepare(settings)
    registered = lookup.find(database, version)
    history = lookup.history(database, registered)
    bundle = find_bundle(settings, registered)
    display.show_version(registered, bundle, history, as_json=as_json)


_Canary = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", parser=parse_share, help="Share of the jobs, for a canary: 5% or 0.05."
    ),
]
_Labelled = Annotated[
    Path | None, typer.Option(help="Labelled questions (CSV) to compare both versions on.")
]
_Margin = Annotated[
    float,
    typer.Option(min=0, max=1, help="Tolerated loss of a metric: 0.01 is 1 percentage point."),
]
_SpeedMargin = Annotated[
    float, typer.Option(min=0, max=1, help="Tolerated loss of speed: 0.2 is 20%.")
]
_Force = Annotated[
    bool, typer.Option("--force", help="Promote even if the gate refuses. Needs --reason.")
]


@app.command()
def promote(
    version: Version,
    *,
    canary: _Canary = None,
    questions: _Labelled = None,
    margin: _Margin = 0.01,
    speed_margin: _SpeedMargin = 0.2,
    force: _Force = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Put a version into production, unless it is worse than the current one."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.evaluation.gate import Margins
    from worker.lifecycle.promotion import promote as promotion

    request = promotion.PromotionRequest(
        version, canary, questions, Margins(margin, speed_margin), forced=force, reason=reason
    )
    threads = cpu_threads.set_thread_limits(settings.threads)
    with progress("Comparing") as on_progress:
        result = promotion.promote(
            settings, prepare(settings), request, threads=threads, on_progress=on_progress
        )
    display.show_promoted(result, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Withdraw the canary, or restore the previous production version."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion.rollback import roll_back

    result = roll_back(settings, prepare(settings), name, reason)
    display.show_rolled_back(result, as_json=as_json)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)],
    *,
    batch: Annotated[
        str | None, typer.Option(help="Batch (name or id) whose questions both versions answer.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="CSV file whose questions both versions answer.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Number of changed questions to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the differences of two versions: in answers, or in bundles."""
    if batch and questions:
        raise typer.BadParameter("--batch and --questions cannot be combined; choose one")
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import lookup

    database = prepare(settings)
    versions = [lookup.find(database, spec) for spec in (first, second)]
    if questions or batch:
        source = _question_source(database, batch, questions)
        _diff_answers(settings, versions, source, limit, as_json=as_json)
    else:
        _diff_bundles(settings, versions, as_json=as_json)


def _question_source(
    database: sa.Engine, batch: str | None, questions: Path | None
) -> QuestionSource:
    from worker.lifecycle.inputs.question_source import batch_questions, file_questions

    return file_questions(questions) if questions else batch_questions(database, batch or "")


def _diff_answers(
    settings: Settings,
    versions: Sequence[ModelVersion],
    source: QuestionSource,
    limit: int,
    *,
    as_json: bool,
) -> None:
    from worker.lifecycle.cli.diff_display import show_answer_diff
    from worker.lifecycle.evaluation.answer_diff import diff_answers
    from worker.model.registry import load_version

    threads = cpu_threads.set_thread_limits(settings.threads)
    models = [load_version(settings, version, threads) for version in versions]
    with progress("Answering questions") as on_progress:
        difference = diff_answers(
            models,
            source,
            settings.question_chars,
            limit=None if as_json else limit,
            on_progress=on_progress,
        )
    show_answer_diff(difference, limit, as_json=as_json)


def _diff_bundles(settings: Settings, versions: Sequence[ModelVersion], *, as_json: bool) -> None:
    from worker.lifecycle.cli.diff_display import show_bundle_diff
    from worker.lifecycle.evaluation.bundle_diff import diff_bundles
    from worker.model.registry import find_bundle

    first, second = versions
    difference = diff_bundles(find_bundle(settings, first), find_bundle(settings, second))
    show_bundle_diff(str(first), str(second), difference, as_json=as_json)
