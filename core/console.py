"""Output, exit statuses and durations of every command line.

Standard output carries the requested data only; progress, hints and errors go to standard error.
Exit status: 0 done, 1 a bug (with its traceback), 2 a mistake of the caller, 3 a service is
unavailable, 130 interrupted, 141 the reader of standard output closed the pipe.

Not covered: the options and texts of the commands, which each package's `cli` holds.
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
    """A console that never wraps a line, however narrow the terminal is."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave the exit status to `run`, because Rich would exit with 1."""
        raise BrokenPipeError


out = _Console()
err = _Console(stderr=True)


def call(function: Callable[..., None], *words: str) -> int:
    """Call a function that is not a Typer app and return the exit status."""
    try:
        function(*words)
    except AnswermillError as error:
        return _report(str(error), error.exit_status)
    return 0


def run(app: typer.Typer | Callable[[], typer.Typer], argv: Sequence[str] | None = None) -> int:
    """Run a Typer app, or the app that a function builds, for its status."""
    try:
        status = _invoke(app if isinstance(app, typer.Typer) else app(), argv)
        sys.stdout.flush()
    except AnswermillError as error:
        return _report(str(error), error.exit_status)
    except typer.TyperException as error:
        return _report(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except Exception:  # noqa: BLE001 - any other exception here is a bug
        traceback.print_exc()
        return 1
    return status


def _invoke(app: typer.Typer, argv: Sequence[str] | None) -> int:
    # Not Typer's own main(), which turns a closed pipe into exit status 1.
    words = list(sys.argv[1:] if argv is None else argv)
    command = typer.main.get_command(app)
    try:
        with command.make_context("answermill", words) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _report(message: str, status: int) -> int:
    for line in message.strip().splitlines():
        err.print(f"answermill: {line}")
    return status


def _silence_stdout() -> None:
    # Python flushes standard output once more at its end, and would print an error then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """Print one JSON document on one line of standard output."""
    print(json.dumps(document, ensure_ascii=False, default=_plain))  # noqa: T201 - the output


def _plain(value: Any) -> str:  # noqa: ANN401 - any type that json does not know
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def one_line(text: str) -> str:
    """Return the text on one line, without characters that control a terminal."""
    printable = (character if character.isprintable() else " " for character in text)
    return " ".join("".join(printable).split())


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `90m`, `2h` or `1d`.

    Raises:
        typer.BadParameter: the text has another form, or is longer than a century.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write 30s, 90m, 2h or 1d")
    number, unit = match.groups()
    try:
        length = timedelta(**{_UNITS[unit.lower()]: float(number)})
    except OverflowError:
        length = timedelta.max
    if length > _LONGEST:
        raise typer.BadParameter(
            f"{text!r} is longer than {_LONGEST.days} days; write a shorter duration"
        )
    return length
