"""The commands `answermill model …`: building and measuring; the rest is in `version_cli`.

What a command needs is imported when it runs: `answermill --help` must not wait for torch.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from db.config import load
from db.errors import SettingsInvalid
from worker.lifecycle import convert_cli, display, version_cli
from worker.lifecycle.convert_cli import mismatches
from worker.lifecycle.version_cli import Json, Version
from worker.model.encoder import Engine, Kind, Precision
from worker.threads import limit

if TYPE_CHECKING:
    import sqlalchemy as sa

    from db.config import Settings
    from worker.lifecycle.build import Built
    from worker.lifecycle.labelled import Labelled
    from worker.model.bundle import Entry

app = typer.Typer(
    help="Build, measure, promote and roll back model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.registered_commands += convert_cli.app.registered_commands
app.registered_commands += version_cli.app.registered_commands

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


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


@dataclass(frozen=True)
class _How:
    """What of a build can be chosen."""

    encoder: str | None
    layers: int | None
    tune: Tune
    labelled: list[Labelled]
    precision_target: float
    kind: Kind
    cascade: bool


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
    from db.session import prepare
    from worker.lifecycle.knowledge import read_knowledge, shared_phrasings
    from worker.lifecycle.labelled import read_labelled

    entries = read_knowledge(knowledge)
    database = prepare(settings)
    if learned:
        entries = _with_learned(database, name, entries)
    display.warn_of_shared(shared_phrasings(entries))
    if layers:
        from worker.lifecycle.distil import check_distillable

        check_distillable(entries)
    if tune is Tune.ENCODER:
        from worker.lifecycle.tune import check_tunable

        check_tunable(entries)
    known = frozenset(entry.id for entry in entries)
    labelled = read_labelled(calibrate, known) if calibrate else []
    started = time.perf_counter()
    how = _How(encoder, layers, tune, labelled, precision_target, Kind(engine, precision), cascade)
    built = _built(settings, database, name, entries, how)
    display.show_built(built, time.perf_counter() - started, as_json=as_json)


def _with_learned(database: sa.Engine, name: str, entries: list[Entry]) -> list[Entry]:
    from db.terminal import err
    from worker.lifecycle.learned import with_accepted

    found = with_accepted(database, name, entries)
    err.print(str(found))
    return found.entries


def _built(
    settings: Settings,
    database: sa.Engine,
    name: str,
    entries: list[Entry],
    how: _How,
) -> Built:
    threads = limit(settings.threads)
    from worker.lifecycle import convert, publish

    publish.check(settings)
    convert.check_installed(how.kind)
    from worker.lifecycle import build as building  # torch comes only when the rest is right
    from worker.lifecycle.distil import distil_encoder
    from worker.lifecycle.encoders import find_encoder
    from worker.lifecycle.tune import tune_encoder
    from worker.lifecycle.workplace import workplace

    source, distilled, tuned = find_encoder(how.encoder), None, None
    with workplace(settings.models / name) as folder:
        if how.layers:
            with display.progress("Distilling the encoder") as hear:
                distilled = distil_encoder(
                    source,
                    entries,
                    how.layers,
                    folder / "distilling",
                    threads=threads,
                    on_progress=hear,
                )
            source = distilled.source
        if how.tune is Tune.ENCODER:
            with display.progress("Tuning the encoder") as hear:
                tuned = tune_encoder(source, entries, folder, threads=threads, on_progress=hear)
        with display.progress("Embedding phrasings") as hear:
            made = building.build(
                settings.models,
                name,
                entries,
                source,
                distilled=distilled,
                tuned=tuned,
                threads=threads,
                on_progress=hear,
                labelled=how.labelled,
                precision_target=how.precision_target,
                kind=how.kind,
                cascade=how.cascade,
            )
    publish.publish(settings, made)
    return building.register(database, made, distilled, tuned)


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
    from worker.model.opening import load as load_bundle

    model = load_bundle(bundle, str(found), threads, device=settings.device)
    if not cascade:
        model = replace(model, cascade=None)
    with display.progress("Answering questions") as hear:
        answers, measured = evaluating.evaluate_each(
            model, labelled, settings.question_chars, lambda done: hear(done, len(labelled))
        )
    if report:
        evaluated = page.Evaluated(questions.name, known, labelled, answers, measured)
        page.write(report, model, evaluated, settings.question_chars)
    display.show_report(model.version, measured, report, as_json=as_json)
