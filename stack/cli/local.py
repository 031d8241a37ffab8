"""The commands `up` and `demo`."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Annotated

import typer

from core.console import err, out
from core.settings.load import load
from producer.promotions import active_versions

app = typer.Typer(pretty_exceptions_enable=False)

_WATCH_SECONDS = 0.5

Workers = Annotated[int, typer.Option(min=1, help="Worker processes, one model each.")]


@app.command()
def up(workers: Workers = 1) -> None:
    """Run Redis, SQLite, workers and Flower here until Ctrl-C."""
    from stack.local.supervisor import running

    settings = load()
    version = active_versions(settings).version
    # The name, not the version: workers follow what is promoted while they run.
    spec = settings.model or version.name
    with stopping() as stop, running(settings, workers, spec) as stack:
        out.print(f"Redis     {_where(settings.embedded_broker, str(settings.redis_socket))}")
        out.print(f"database  {_where(settings.embedded_database, settings.database)}")
        out.print(f"model     {version}{_how_followed(spec)}")
        out.print(f"workers   {workers}, logs in {settings.home / 'logs'}")
        out.print(f"Flower    {stack.flower_url}")
        out.print("Ctrl-C stops everything.")
        while not stop.wait(_WATCH_SECONDS):
            stack.watch(err.print)
        err.print("stopping: workers finish the job they have …")


def _how_followed(spec: str) -> str:
    return "" if "@" in spec else ", and what is promoted after it"


def _where(embedded: bool, place: str) -> str:  # noqa: FBT001 - a fact, not a switch
    return place.removeprefix("sqlite:///") if embedded else "as configured"


@app.command()
def demo(
    *,
    workers: Workers = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop when all is answered, also on a terminal.")
    ] = False,
) -> None:
    """Start everything here, answer the sample that ships, show it."""
    from stack.local.demo import run

    with stopping() as stop:
        run(load(), workers, stay=out.is_terminal and not leave, stop=stop)


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Hand over an event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
