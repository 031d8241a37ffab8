"""The command `answermill model evaluate`.

Heavy packages are imported when the command runs, so that `answermill --help` does not wait
for torch. Not covered: the metrics (`worker.lifecycle.evaluation.metrics`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.settings.load import load
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.versions import Json, Version
from worker.process.cpu_threads import set_thread_limits

if TYPE_CHECKING:
    from core.settings.settings import Settings
    from worker.model.bundle.bundle import Bundle
    from worker.model.loaded_model import LoadedModel

app = typer.Typer()


_Questions = Annotated[
    Path, typer.Option(help="Labelled questions: CSV with question,expected, optionally scope.")
]
_Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", help="Also write a report page. It quotes questions."),
]
_Cascade = Annotated[bool, typer.Option(help="Use the version's cascade, if it has one.")]


@app.command()
def evaluate(
    version: Version,
    *,
    questions: _Questions,
    report: _Report = None,
    cascade: _Cascade = True,
    as_json: Json = False,
) -> None:
    """Measure a model version on labelled questions."""
    settings = load()
    from worker.lifecycle.evaluation.report import page
    from worker.lifecycle.inputs.labelled_questions import read_labelled

    name, bundle = _find(settings, version)
    known = frozenset(entry.id for entry in bundle.entries())
    labelled = read_labelled(questions, known)
    if report:
        page.check(report)
    model = _load(settings, bundle, name, cascade=cascade)
    from worker.lifecycle.evaluation.evaluate import evaluate_each

    with build_display.progress("Answering questions") as on_progress:
        answers, measured = evaluate_each(
            model, labelled, settings.question_chars, lambda done: on_progress(done, len(labelled))
        )
    if report:
        evaluation = page.EvaluationInput(questions.name, known, labelled, answers, measured)
        page.write(report, model, evaluation, settings.question_chars)
    build_display.show_report(model.version, measured, report, as_json=as_json)


def _find(settings: Settings, spec: str) -> tuple[str, Bundle]:
    from db.schema import prepare
    from worker.lifecycle.promotion import lookup
    from worker.model.registry import find_bundle

    version = lookup.find(prepare(settings), spec)
    return str(version), find_bundle(settings, version)


def _load(settings: Settings, bundle: Bundle, version: str, *, cascade: bool) -> LoadedModel:
    threads = set_thread_limits(settings.threads)
    from worker.model.load import load as load_bundle  # imports torch, so the checks come first

    model = load_bundle(bundle, version, threads, device=settings.device)
    return model if cascade else replace(model, cascade=None)
