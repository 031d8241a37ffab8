"""The commands `answermill model …`, collected from their modules."""

from __future__ import annotations

import typer

from worker.lifecycle.cli import build, convert, evaluate, versions

app = typer.Typer(
    help="Build, evaluate, convert, promote and roll back model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for module in (build, evaluate, convert, versions):
    app.registered_commands += module.app.registered_commands
