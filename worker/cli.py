"""The command `answermill worker`.

Not covered: the worker itself: `worker.process.parent`.
"""

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
        int | None,
        typer.Option(min=1, help="Number of replicas. Each is one process with its own model."),
    ] = None,
    lanes: Annotated[
        str,
        typer.Option(help="Lanes to answer, separated by commas. The first lane goes first."),
    ] = "interactive,bulk",
    health: Annotated[
        bool,
        typer.Option("--health", help="Check the workers of this host, and start nothing."),
    ] = False,
) -> None:
    """Answer questions until stopped.

    After the first SIGTERM, running jobs finish. With --health, the exit
    status is 0 if all workers of this host are healthy. Otherwise it is 1,
    and one line describes the fault.
    """
    if health:
        _check_health()
    from worker.process.parent import run

    raise typer.Exit(run(load(replicas=replicas), _lanes(lanes)))


def _check_health() -> NoReturn:
    from worker.monitoring.health_check import find_fault_here

    fault = find_fault_here(load())
    out.print(fault or "healthy")
    raise typer.Exit(1 if fault else 0)


def _lanes(text: str) -> list[Lane]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Lane)]
    if unknown or not names:
        raise SettingsInvalid(
            [f"--lanes {text}: not a list of lanes. Choose from {', '.join(Lane)}"]
        )
    return [Lane(name) for name in dict.fromkeys(names)]
