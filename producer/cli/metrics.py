"""The command `answermill metrics`: serves what `producer.monitoring.system_metrics` reads, until stopped."""

from __future__ import annotations

import ipaddress
import signal
import threading
from typing import Annotated

import typer

from core.console import err
from core.settings.load import load

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def metrics(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where; 0: any free port.")] = 9464,
    address: Annotated[str, typer.Option(help="Which of this host's addresses.")] = "127.0.0.1",
) -> None:
    """Serve the system's metrics to Prometheus until stopped.

    One of these tells of all lanes, workers and versions. What each worker counts, it serves
    itself: see the setting ANSWERMILL_METRICS_PORT.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from core import logging_setup
    from producer.connections import both
    from producer.monitoring.system_metrics import SystemCollector

    _check(address)
    settings = load()
    with both(settings) as (engine, client):
        logging_setup.configure(settings)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SystemCollector(engine, client, settings))
        try:
            server, thread = start_http_server(port, address, registry)
        except OSError as error:
            raise typer.BadParameter(f"--port {port}: {error.strerror or error}") from None
        err.print(f"metrics: http://{address}:{server.server_port}/metrics")
        _until_stopped()
        server.shutdown()
        thread.join()


def _check(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise typer.BadParameter(f"--address {address} is no IP address") from None


def _until_stopped() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
