"""What our command lines share: errors become exit statuses, output goes where it belongs.

Standard output carries what was asked for and nothing else; progress, hints and errors go
to standard error. Exit status: 0 done, 2 the caller's mistake, 3 a service is away, 130
interrupted, 141 the reader of our output went away, 1 our bug, with its traceback.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console

from core.errors import AnswermillError

INTERRUPTED = 130
PIPE_CLOSED = 141

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36_500)


class _Console(Console):
    """A console that prints a sentence as it is, on one line, however narrow the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave it to `run`; Rich would exit with 1."""
        raise BrokenPipeError


out = _Console()
err = _Console(stderr=True)


def call(function: Callable[..., None], *words: str) -> int:
    """Call what is no Typer app; return the exit status."""
    try:
        function(*words)
    except AnswermillError as error:
        return _described(str(error), error.exit_status)
    return 0


def run(app: typer.Typer | Callable[[], typer.Typer], argv: Sequence[str] | None = None) -> int:
    """Run a Typer app, or the one that the function builds; return the exit status."""
    try:
        status = _invoke(app if isinstance(app, typer.Typer) else app(), argv)
        sys.stdout.flush()
    except AnswermillError as error:
        return _described(str(error), error.exit_status)
    except typer.TyperException as error:
        return _described(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except Exception:  # noqa: BLE001 - whatever else comes up here is our bug
        traceback.print_exc()
        return 1
    return status


def _invoke(app: typer.Typer, argv: Sequence[str] | None) -> int:
    # Not Typer's own main(): it turns a closed pipe into exit status 1.
    words = list(sys.argv[1:] if argv is None else argv)
    command = typer.main.get_command(app)
    try:
        with command.make_context("answermill", words) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _described(message: str, status: int) -> int:
    for line in message.strip().splitlines():
        err.print(f"answermill: {line}")
    return status


def _silence_stdout() -> None:
    # Python flushes standard output once more as it ends, and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """Print one JSON document, on one line, on standard output."""
    print(json.dumps(document, ensure_ascii=False, default=_plain))  # noqa: T201 - asked for


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever json does not know
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def one_line(text: str) -> str:
    """Return the text fit for a line on a terminal, without what could control it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `90m`, `2h` or `1d`.

    Raises:
        typer.BadParameter: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 30s, 90m, 2h or 1d")
    number, unit = match.groups()
    try:
        length = timedelta(**{_UNITS[unit.lower()]: float(number)})
    except OverflowError:
        length = timedelta.max
    if length > _LONGEST:
        raise typer.BadParameter(f"{text!r} is longer than {_LONGEST.days} days")
    return length
