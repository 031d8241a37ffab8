"""The command `answermill model convert`.

Heavy packages are imported when the command runs, so that `answermill --help` does not wait
for torch. Not covered: the conversion itself (`worker.lifecycle.conversion.convert`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import SettingsInvalid
from core.settings.load import load
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.versions import Json, Version
from worker.model.encoder.base import KINDS, EncoderKind, Engine, Precision
from worker.process.cpu_threads import set_thread_limits

if TYPE_CHECKING:
    from core.domain.model_version import ModelVersion
    from core.settings.settings import Settings
    from worker.model.bundle.bundle import Bundle

app = typer.Typer()


def mismatches(engine: Engine, precision: Precision) -> list[str]:
    """Return a fault if the engine does not support the precision."""
    if EncoderKind(engine, precision) in KINDS:
        return []
    supported = [kind.precision.value for kind in KINDS if kind.engine is engine]
    fault = f"--engine {engine} does not support --precision {precision}"
    return [f"{fault}; use --precision {' or '.join(supported)}"]


_Engine = Annotated[Engine, typer.Option(help="Engine of the converted encoder.")]
_Precision = Annotated[Precision, typer.Option(help="Numeric precision of the converted encoder.")]
_Questions = Annotated[
    Path | None,
    typer.Option(
        help="Questions to compare on: CSV with question, optionally expected."
        " Default: the phrasings."
    ),
]


@app.command()
def convert(
    version: Version,
    *,
    engine: _Engine,
    precision: _Precision,
    questions: _Questions = None,
    as_json: Json = False,
) -> None:
    """Make a version with a converted encoder, if its answers stay the same."""
    if faults := mismatches(engine, precision):
        raise SettingsInvalid(faults)
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.build import publish
    from worker.lifecycle.promotion import lookup
    from worker.model.registry import find_bundle

    database = prepare(settings)
    original = lookup.find(database, version)
    publish.check(settings)
    bundle = find_bundle(settings, original)
    started = time.perf_counter()
    converted = _convert(settings, original, bundle, EncoderKind(engine, precision), questions)
    publish.publish(settings, converted, build_display.progress)
    from worker.lifecycle.build.build_bundle import register

    built = register(database, converted)
    build_display.show_converted(built, time.perf_counter() - started, as_json=as_json)


def _convert(
    settings: Settings,
    version: ModelVersion,
    bundle: Bundle,
    kind: EncoderKind,
    questions: Path | None,
) -> Bundle:
    threads = set_thread_limits(settings.threads)
    # These import torch, so the checks come first.
    from worker.lifecycle.conversion.convert import check, convert_version
    from worker.lifecycle.conversion.drift import read_sample

    check(bundle.manifest, kind, str(version))
    sample = read_sample(questions, bundle.entries()) if questions else None
    with build_display.progress("Comparing") as on_progress:
        return convert_version(
            settings.models,
            bundle,
            kind,
            version=str(version),
            sample=sample,
            threads=threads,
            on_progress=on_progress,
        )
