"""The command `answermill model convert`.

What it needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from core.errors import SettingsInvalid
from core.settings.load import load
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.versions import Json, Version
from worker.model.encoder.base import KINDS, EncoderKind, Engine, Precision
from worker.process.cpu_threads import set_thread_limits

app = typer.Typer()


def mismatches(engine: Engine, precision: Precision) -> list[str]:
    """Return what is wrong with an engine and a precision together."""
    if EncoderKind(engine, precision) in KINDS:
        return []
    goes = [kind.precision.value for kind in KINDS if kind.engine is engine]
    return [f"--engine {engine} goes with --precision {' or '.join(goes)}, not {precision}"]


@app.command()
def convert(
    version: Version,
    *,
    engine: Annotated[Engine, typer.Option(help="What shall compute the encoder.")],
    precision: Annotated[Precision, typer.Option(help="What in.")],
    questions: Annotated[
        Path | None,
        typer.Option(help="CSV to check on: question and, if wanted, expected. Else phrasings."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new version with the encoder in another form, if its answers stay the same."""
    if faults := mismatches(engine, precision):
        raise SettingsInvalid(faults)
    settings, to = load(), EncoderKind(engine, precision)
    from db.schema import prepare
    from worker.lifecycle.build import publish
    from worker.lifecycle.promotion import rollback
    from worker.model.registry import find_bundle

    database = prepare(settings)
    found = rollback.find(database, version)
    publish.check(settings)
    original = find_bundle(settings, found)
    threads = set_thread_limits(settings.threads)
    from worker.lifecycle.build.build_bundle import register
    from worker.lifecycle.conversion import (
        convert as converting,  # torch comes only when the rest is right
    )
    from worker.lifecycle.conversion.drift import read_sample

    converting.check(original.manifest, to, str(found))
    sample = read_sample(questions, original.entries()) if questions else None
    started = time.perf_counter()
    with build_display.progress("Comparing") as hear:
        made = converting.convert_version(
            settings.models,
            original,
            to,
            version=str(found),
            sample=sample,
            threads=threads,
            on_progress=hear,
        )
    publish.publish(settings, made, build_display.progress)
    built = register(database, made)
    build_display.show_converted(built, time.perf_counter() - started, as_json=as_json)
