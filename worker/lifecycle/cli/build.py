"""The command `answermill model build`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import SettingsInvalid
from core.settings.load import load
from worker.lifecycle.build.build_version import BuildOptions, Tune, build_version
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.convert import mismatches
from worker.lifecycle.cli.versions import Json
from worker.model.encoder.base import EncoderKind, Engine, Precision

if TYPE_CHECKING:
    import sqlalchemy as sa

    from worker.model.bundle.bundle import Entry

app = typer.Typer()

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class _BareTune(typer.core.TyperCommand):
    """Lets `--tune` stand without a value, for its default; Typer knows no such option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own copy of click
        """Put in the value that isn't there."""
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            bare = word == "--tune" and (not following or following.startswith("-"))
            words += [word, Tune.HEAD.value] if bare else [word]
        return super().parse_args(ctx, words)


@app.command(cls=_BareTune)
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
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Distil the encoder to so many: faster; kept if little is lost."),
    ] = None,
    tune: Annotated[
        Tune, typer.Option(help="What to train on the phrasings; kept if it helps.")
    ] = Tune.HEAD,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Labelled questions to calibrate with: CSV, question,expected."),
    ] = None,
    precision_target: Annotated[
        float,
        typer.Option(min=0.5, max=0.999, help="The share of the answers that shall be right."),
    ] = 0.95,
    cascade: Annotated[
        bool,
        typer.Option(help="Let a cheap model answer what it is surest of, if that is as good."),
    ] = True,
    learned: Annotated[
        bool,
        typer.Option("--learned", help="Take in what was accepted at the hand-off desk."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Build a model version from a knowledge base; the first one goes into production."""
    _check(name, engine, precision)
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.inputs.knowledge_file import read_knowledge, shared_phrasings
    from worker.lifecycle.inputs.labelled_questions import read_labelled

    entries = read_knowledge(knowledge)
    database = prepare(settings)
    if learned:
        entries = _with_learned(database, name, entries)
    build_display.warn_of_shared(shared_phrasings(entries))
    if layers:
        from worker.lifecycle.training.distill import check_can_distill

        check_can_distill(entries)
    if tune is Tune.ENCODER:
        from worker.lifecycle.training.fine_tune import check_can_tune

        check_can_tune(entries)
    known = frozenset(entry.id for entry in entries)
    labelled = read_labelled(calibrate, known) if calibrate else []
    started = time.perf_counter()
    kind = EncoderKind(engine, precision)
    options = BuildOptions(encoder, layers, tune, labelled, precision_target, kind, cascade)
    built = build_version(
        settings, database, name, entries, options, progress=build_display.progress
    )
    build_display.show_built(built, time.perf_counter() - started, as_json=as_json)


def _with_learned(database: sa.Engine, name: str, entries: list[Entry]) -> list[Entry]:
    from core.console import err
    from worker.lifecycle.inputs.accepted_proposals import with_accepted

    found = with_accepted(database, name, entries)
    err.print(str(found))
    return found.entries


def _check(name: str, engine: Engine, precision: Precision) -> None:
    faults = []
    if not _NAME.fullmatch(name):
        faults.append(
            f"--name {name}: must be of a-z, 0-9, _ and -, begin with a letter or a digit,"
            " and have at most 63 characters"
        )
    faults += mismatches(engine, precision)
    if faults:
        raise SettingsInvalid(faults)
