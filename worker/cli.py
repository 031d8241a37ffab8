"""The command `answermill worker`."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from core.console import out
from core.domain.batch import Lane
from core.errors import SettingsInvalid
from core.settings.load import load

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def worker(
    *,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Copies of the model, one process each.")
    ] = None,
    lanes: Annotated[
        str, typer.Option(help="Lanes to take work from, comma-separated, first one first.")
    ] = "interactive,bulk",
    health: Annotated[
        bool, typer.Option("--health", help="Only tell whether the workers of this host get on.")
    ] = False,
) -> None:
    """Answer questions until stopped.

    The first SIGTERM lets the job in work finish. With --health, start
    nothing: exit with 0 if all is well, else with 1 and a line that says why.
    """
    if health:
        _tell_health()
    from worker.process.parent import run

    raise typer.Exit(run(load(replicas=replicas), _lanes(lanes)))


def _tell_health() -> NoReturn:
    from worker.monitoring.health_check import find_fault_here

    fault = find_fault_here(load())
    out.print(fault or "healthy")
    raise typer.Exit(1 if fault else 0)


def _lanes(text: str) -> list[Lane]:
    known = ", ".join(Lane)
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Lane)]
    if unknown or not names:
        raise SettingsInvalid([f"--lanes {text}: no such lane; there are {known}"])
    return [Lane(name) for name in dict.fromkeys(names)]
