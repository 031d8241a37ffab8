"""The commands `answermill model …`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from db import terminal
from db.config import Settings, load
from db.errors import SettingsInvalid
from worker.lifecycle import display
from worker.threads import limit

app = typer.Typer(
    help="Build, measure, promote and roll back model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Engine(StrEnum):
    """What computes the encoder."""

    TORCH = "torch"
    ONNX = "onnx"


class Precision(StrEnum):
    """Of the encoder's arithmetic."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Version = Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)]


@app.command()
def build(
    *,
    knowledge: Annotated[Path, typer.Option(help="The knowledge base, JSON lines.")],
    name: Annotated[str, typer.Option(help="The model's name; its versions are numbered.")],
    encoder: Annotated[
        str | None,
        typer.Option(metavar="DIR|HUB-ID", help="Default: all-MiniLM-L6-v2, which ships."),
    ] = None,
    engine: Annotated[Engine, typer.Option()] = Engine.TORCH,
    precision: Annotated[Precision, typer.Option()] = Precision.FP32,
    as_json: Json = False,
) -> None:
    """Build a model version from a knowledge base; the first one goes into production."""
    _check(name, engine, precision)
    settings = load()
    from db.session import prepare
    from worker.lifecycle.knowledge import read_knowledge, shared_phrasings

    entries = read_knowledge(knowledge)
    display.warn_of_shared(shared_phrasings(entries))
    database = prepare(settings)
    threads = limit(settings.threads)
    from worker.lifecycle import build as building  # torch comes only when the rest is right
    from worker.lifecycle.encoders import find_encoder

    source = find_encoder(encoder)
    started = time.perf_counter()
    with display.progress("Embedding phrasings") as hear:
        made = building.build(
            settings.models, name, entries, source, threads=threads, on_progress=hear
        )
    built = building.register(database, *made)
    display.show_built(built, time.perf_counter() - started, as_json=as_json)


def _check(name: str, engine: Engine, precision: Precision) -> None:
    faults = []
    if not _NAME.fullmatch(name):
        faults.append(
            f"--name {name}: must be of a-z, 0-9, _ and -, begin with a letter or a digit,"
            " and have at most 63 characters"
        )
    if (engine, precision) != (Engine.TORCH, Precision.FP32):
        faults.append(
            f"--engine {engine} --precision {precision}: not in this release,"
            " which builds --engine torch --precision fp32"
        )
    if faults:
        raise SettingsInvalid(faults)


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
    as_json: Json = False,
) -> None:
    """Measure a model version on labelled questions."""
    settings = load()
    from db.session import prepare
    from worker.lifecycle import versions
    from worker.lifecycle.labelled import read_labelled
    from worker.lifecycle.report import page
    from worker.model.registry import find_bundle

    found = versions.find(prepare(settings), version)
    bundle = find_bundle(settings, found)
    known = frozenset(entry.id for entry in bundle.entries())
    labelled = read_labelled(questions, known)
    if report:
        page.check(report)
    threads = limit(settings.threads)
    from worker.lifecycle import evaluate as evaluating  # torch comes only when the rest is right
    from worker.model.loaded import load as load_bundle

    model = load_bundle(bundle, str(found), threads)
    with display.progress("Answering questions") as hear:
        answers, measured = evaluating.evaluate_each(
            model, labelled, settings.question_chars, lambda done: hear(done, len(labelled))
        )
    if report:
        evaluated = page.Evaluated(questions.name, known, labelled, answers, measured)
        page.write(report, model, evaluated, settings.question_chars)
    display.show_report(model.version, measured, report, as_json=as_json)


@app.command("list")
def list_versions(*, as_json: Json = False) -> None:
    """List every model version."""
    settings = load()
    from db.session import prepare
    from worker.lifecycle import versions

    display.show_versions(versions.listed(prepare(settings)), as_json=as_json)


@app.command()
def show(version: Version, *, as_json: Json = False) -> None:
    """Show one model version, and check its bundle."""
    settings = load()
    from db.session import prepare
    from worker.lifecycle import versions
    from worker.model.registry import find_bundle

    found = versions.find(prepare(settings), version)
    display.show_version(found, find_bundle(settings, found), as_json=as_json)


@app.command()
def promote(version: Version) -> None:
    """Put a version into production: what NAME stands for from now on."""
    settings = load()
    promoted, moved = _promote(settings, version)
    state = "is in production now" if moved else "is in production already"
    terminal.out.print(f"{promoted} {state}.")


def _promote(settings: Settings, spec: str) -> tuple[object, bool]:
    from db.session import prepare
    from worker.lifecycle import versions

    return versions.promote(settings, prepare(settings), spec)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
) -> None:
    """Withdraw the production version; the one before takes its place."""
    settings = load()
    from db.session import prepare
    from worker.lifecycle import versions

    before = versions.roll_back(settings, prepare(settings), name)
    terminal.out.print(f"{before} is in production again.")
