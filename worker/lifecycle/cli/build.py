"""The command `answermill model build`.

Heavy packages are imported when the command runs, so that `answermill --help` does not wait
for torch. Not covered: the build itself (`worker.lifecycle.build.build_version`).
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import SettingsInvalid
from core.settings.load import load
from worker.lifecycle.build.build_version import build_version
from worker.lifecycle.build.options import PRECISION_TARGET, BuildOptions, Tune
from worker.lifecycle.cli import build_display
from worker.lifecycle.cli.convert import mismatches
from worker.lifecycle.cli.versions import Json
from worker.model.encoder.base import EncoderKind, Engine, Precision

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.settings.settings import Settings
    from worker.lifecycle.inputs.labelled_questions import Labelled
    from worker.model.bundle.bundle import Entry

app = typer.Typer()

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class _BareTuneCommand(typer.core.TyperCommand):
    """A command whose option `--tune` may have no value, which means `head`.

    Typer accepts no `flag_value` for an option that takes a value, and Click's has no effect
    in it. So the missing value is inserted before the command line is parsed.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own copy of click
        """Insert the value of a bare `--tune`, then parse."""
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            bare = word == "--tune" and (not following or following.startswith("-"))
            words += [word, Tune.HEAD.value] if bare else [word]
        return super().parse_args(ctx, words)


_Knowledge = Annotated[Path, typer.Option(help="The knowledge base, in JSON lines.")]
_Name = Annotated[str, typer.Option(help="Name of the model. Its versions are numbered.")]
_Encoder = Annotated[
    str | None,
    typer.Option(metavar="DIR|HUB-ID", help="Encoder. Default: all-MiniLM-L6-v2, included."),
]
_Engine = Annotated[Engine, typer.Option(help="Engine of the encoder.")]
_Precision = Annotated[Precision, typer.Option(help="Numeric precision of the encoder.")]
_Layers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Layers to distill the encoder to. Fewer are faster. Discarded if less accurate.",
    ),
]
_Tune = Annotated[
    Tune,
    typer.Option(help="Part to train on the phrasings. A tuned encoder is kept if it is better."),
]
_Calibrate = Annotated[
    Path | None,
    typer.Option(help="Labelled questions for calibration: CSV with question,expected."),
]
_PrecisionTarget = Annotated[
    float, typer.Option(min=0.5, max=0.999, help="Target share of right answers.")
]
_Cascade = Annotated[
    bool, typer.Option(help="Answer easy questions without the encoder, if as accurate.")
]
_Learned = Annotated[
    bool, typer.Option("--learned", help="Add the proposals accepted at the hand-off desk.")
]


@app.command(cls=_BareTuneCommand)
def build(
    *,
    knowledge: _Knowledge,
    name: _Name,
    encoder: _Encoder = None,
    engine: _Engine = Engine.TORCH,
    precision: _Precision = Precision.FP32,
    layers: _Layers = None,
    tune: _Tune = Tune.HEAD,
    calibrate: _Calibrate = None,
    precision_target: _PrecisionTarget = PRECISION_TARGET,
    cascade: _Cascade = True,
    learned: _Learned = False,
    as_json: Json = False,
) -> None:
    """Build a model version. The first version goes into production."""
    _check(name, engine, precision)
    settings = load()
    from db.schema import prepare
    from worker.lifecycle.inputs.knowledge_file import read_knowledge, shared_phrasings

    entries = read_knowledge(knowledge)
    database = prepare(settings)
    entries = _with_accepted(database, name, entries) if learned else entries
    build_display.warn_of_shared(shared_phrasings(entries))
    _check_trainable(entries, layers, tune)
    labelled = _read_labelled(calibrate, entries)
    kind = EncoderKind(engine, precision)
    options = BuildOptions(encoder, layers, tune, labelled, precision_target, kind, cascade)
    _build_and_show(settings, database, name, entries, options, as_json=as_json)


def _build_and_show(
    settings: Settings,
    database: sa.Engine,
    name: str,
    entries: list[Entry],
    options: BuildOptions,
    *,
    as_json: bool,
) -> None:
    started, progress = time.perf_counter(), build_display.progress
    built = build_version(settings, database, name, entries, options, progress=progress)
    build_display.show_built(built, time.perf_counter() - started, as_json=as_json)


def _with_accepted(database: sa.Engine, name: str, entries: list[Entry]) -> list[Entry]:
    from core.console import err
    from worker.lifecycle.inputs.accepted_proposals import with_accepted

    accepted = with_accepted(database, name, entries)
    err.print(str(accepted))
    return accepted.entries


def _check_trainable(entries: list[Entry], layers: int | None, tune: Tune) -> None:
    if layers:
        from worker.lifecycle.training.distill import check_can_distill

        check_can_distill(entries)
    if tune is Tune.ENCODER:
        from worker.lifecycle.training.fine_tune import check_can_tune

        check_can_tune(entries)


def _read_labelled(path: Path | None, entries: list[Entry]) -> list[Labelled]:
    from worker.lifecycle.inputs.labelled_questions import read_labelled

    return read_labelled(path, frozenset(entry.id for entry in entries)) if path else []


def _check(name: str, engine: Engine, precision: Precision) -> None:
    faults = []
    if not _NAME.fullmatch(name):
        faults.append(
            f"--name {name} is not valid: use a-z, 0-9, _ and -, begin with a letter or a digit,"
            " and use at most 63 characters"
        )
    faults += mismatches(engine, precision)
    if faults:
        raise SettingsInvalid(faults)
