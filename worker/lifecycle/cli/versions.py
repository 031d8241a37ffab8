"""The commands `answermill model list|show|promote|rollback|diff`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from core.settings.load import load
from worker.lifecycle.cli import version_display as display
from worker.lifecycle.cli.build_display import progress
from worker.process import cpu_threads

app = typer.Typer()

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%|(0?\.\d+)")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Version = Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept for good.")]


def parse_share(text: str) -> float:
    """Read `5%` or `0.05`: above 0 and below 1.

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no share; write 5% or 0.05")
    percent, share = match.groups()
    value = float(percent) / 100 if percent else float(share)
    if not 0 < value < 1:
        raise typer.BadParameter(f"{text!r} is no share of the jobs: above 0%, below 100%")
    return value


@app.command("list")
def list_versions(*, as_json: Json = False) -> None:
    """List every model version."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import rollback as versions

    display.show_versions(versions.listed(prepare(settings)), as_json=as_json)


@app.command()
def show(version: Version, *, as_json: Json = False) -> None:
    """Show one model version and its moves, and check its bundle."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import rollback as versions
    from worker.model.registry import find_bundle

    database = prepare(settings)
    found = versions.find(database, version)
    moves = versions.history(database, found)
    display.show_version(found, find_bundle(settings, found), moves, as_json=as_json)


@app.command()
def promote(
    version: Version,
    *,
    canary: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", parser=parse_share, help="Only this share of the jobs: 5% or 0.05."
        ),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Labelled CSV that both versions are compared on.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="How much worse a share may be.")
    ] = 0.01,
    speed_margin: Annotated[
        float, typer.Option(min=0, max=1, help="How much slower it may be, of the speed before.")
    ] = 0.2,
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate says.")] = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Put a version into production, unless it does worse than the one that is there."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.evaluation.gate import Margins
    from worker.lifecycle.promotion import promote as promotion

    margins = Margins(margin, speed_margin)
    wish = promotion.PromotionRequest(
        version, canary, questions, margins, forced=force, reason=reason
    )
    count = cpu_threads.set_thread_limits(settings.threads)
    with progress("Comparing") as hear:
        done = promotion.promote(settings, prepare(settings), wish, threads=count, hear=hear)
    display.show_promoted(done, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Withdraw the canary if there is one, else the production version for the one before."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.promotion import rollback as versions

    display.show_rolled_back(
        versions.roll_back(settings, prepare(settings), name, reason), as_json=as_json
    )


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)],
    *,
    batch: Annotated[
        str | None, typer.Option(help="Answer the questions of this batch with both.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Answer the questions of this CSV with both.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Changed questions that are shown.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what changes from one version to another: for questions, or in the bundles."""
    if batch and questions:
        raise typer.BadParameter("--batch or --questions, not both")
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.cli import diff_display as shown
    from worker.lifecycle.evaluation import bundle_diff
    from worker.lifecycle.evaluation.answer_diff import diff_answers
    from worker.lifecycle.inputs import question_source
    from worker.lifecycle.promotion import rollback as versions
    from worker.model.registry import find_bundle, load_version

    database = prepare(settings)
    both = [versions.find(database, spec) for spec in (first, second)]
    if questions:
        source = question_source.file_questions(questions)
    elif batch:
        source = question_source.batch_questions(database, batch)
    else:
        bundles = [find_bundle(settings, version) for version in both]
        found = bundle_diff.diff_bundles(*bundles)
        shown.show_contents(str(both[0]), str(both[1]), found, as_json=as_json)
        return
    count = cpu_threads.set_thread_limits(settings.threads)
    models = [load_version(settings, version, count) for version in both]
    wanted = None if as_json else limit
    with progress("Answering questions") as hear:
        difference = diff_answers(models, source, settings.question_chars, limit=wanted, hear=hear)
    shown.show_difference(difference, limit, as_json=as_json)
