"""The commands `answermill model …`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import re
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db import terminal
from db.config import Settings, load
from db.errors import SettingsInvalid
from worker.lifecycle import display
from worker.threads import limit

if TYPE_CHECKING:
    import sqlalchemy as sa

    from worker.lifecycle.build import Built
    from worker.model.bundle import Entry

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


class Tune(StrEnum):
    """What is trained on the knowledge base, and kept if it then answers better."""

    NONE = "none"
    HEAD = "head"  # what decides, on the encoder's embeddings
    ENCODER = "encoder"  # the encoder as well, which takes minutes


class _BareTune(typer.core.TyperCommand):
    """Lets `--tune` stand without a value, for its default; Typer knows no such option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own copy of click
        """Put in the value that isn't there."""
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            bare = word == "--tune" and (not following or following.startswith("-"))
            words += [word, Tune.HEAD.value] if bare else [word]
        return super().parse_args(ctx, words)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Version = Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)]


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
    tune: Annotated[
        Tune, typer.Option(help="What to train on the phrasings; kept if it helps.")
    ] = Tune.HEAD,
    as_json: Json = False,
) -> None:
    """Build a model version from a knowledge base; the first one goes into production."""
    _check(name, engine, precision)
    settings = load()
    from db.session import prepare
    from worker.lifecycle.knowledge import read_knowledge, shared_phrasings

    entries = read_knowledge(knowledge)
    display.warn_of_shared(shared_phrasings(entries))
    if tune is Tune.ENCODER:
        from worker.lifecycle.tune import check_tunable

        check_tunable(entries)
    database = prepare(settings)
    started = time.perf_counter()
    built = _built(settings, database, name, entries, encoder=encoder, tune=tune)
    display.show_built(built, time.perf_counter() - started, as_json=as_json)


def _built(
    settings: Settings,
    database: sa.Engine,
    name: str,
    entries: list[Entry],
    *,
    encoder: str | None,
    tune: Tune,
) -> Built:
    threads = limit(settings.threads)
    from worker.lifecycle import build as building  # torch comes only when the rest is right
    from worker.lifecycle.encoders import find_encoder
    from worker.lifecycle.tune import tune_encoder

    source, tuned = find_encoder(encoder), None
    with building.workplace(settings.models / name) as folder:
        if tune is Tune.ENCODER:
            with display.progress("Tuning the encoder") as hear:
                tuned = tune_encoder(source, entries, folder, threads=threads, on_progress=hear)
            source = tuned.source
        with display.progress("Embedding phrasings") as hear:
            made = building.build(
                settings.models, name, entries, source, threads=threads, on_progress=hear
            )
    return building.register(database, *made, tuned)


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
    questions: Annotated[Path, typer.Option(help="CSV with the columns question, expected.")],
    as_json: Json = False,
) -> None:
    """Measure a model version on labelled questions."""
    settings = load()
    from db.session import prepare
    from worker.lifecycle import evaluate as evaluating
    from worker.lifecycle import versions
    from worker.model.registry import find_bundle

    found = versions.find(prepare(settings), version)
    bundle = find_bundle(settings, found)
    known = frozenset(entry.id for entry in bundle.entries())
    labelled = evaluating.read_labelled(questions, known)
    threads = limit(settings.threads)
    from worker.model.loaded import load as load_bundle  # torch comes only when the rest is right

    model = load_bundle(bundle, str(found), threads)
    with display.progress("Answering questions") as hear:
        report = evaluating.evaluate(
            model, labelled, settings.question_chars, lambda done: hear(done, len(labelled))
        )
    display.show_report(model.version, report, as_json=as_json)


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
