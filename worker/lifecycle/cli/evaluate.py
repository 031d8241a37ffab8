"""The command `answermill model evaluate`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from core.settings.load import load
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.versions import Json, Version
from worker.process.cpu_threads import set_thread_limits

app = typer.Typer()


@app.command()
def evaluate(
    version: Version,
    *,
    questions: Annotated[
        Path, typer.Option(help="CSV with the columns question, expected and, if wanted, scope.")
    ],
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Also write a page; it quotes questions."),
    ] = None,
    cascade: Annotated[bool, typer.Option(help="Use the version's cascade, if it has one.")] = True,
    as_json: Json = False,
) -> None:
    """Measure a model version on labelled questions."""
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.evaluation.report import page
    from worker.lifecycle.inputs.labelled_questions import read_labelled
    from worker.lifecycle.promotion import rollback
    from worker.model.registry import find_bundle

    found = rollback.find(prepare(settings), version)
    bundle = find_bundle(settings, found)
    known = frozenset(entry.id for entry in bundle.entries())
    labelled = read_labelled(questions, known)
    if report:
        page.check(report)
    threads = set_thread_limits(settings.threads)
    from worker.lifecycle.evaluation import (
        evaluate as evaluating,  # torch comes only when the rest is right
    )
    from worker.model.load import load as load_bundle

    model = load_bundle(bundle, str(found), threads, device=settings.device)
    if not cascade:
        model = replace(model, cascade=None)
    with build_display.progress("Answering questions") as hear:
        answers, measured = evaluating.evaluate_each(
            model, labelled, settings.question_chars, lambda done: hear(done, len(labelled))
        )
    if report:
        evaluated = page.EvaluationInput(questions.name, known, labelled, answers, measured)
        page.write(report, model, evaluated, settings.question_chars)
    build_display.show_report(model.version, measured, report, as_json=as_json)
