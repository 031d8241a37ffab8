"""The command `metrics`: serves metrics of the system to Prometheus."""

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
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="TCP port; 0: any free port.")
    ] = 9464,
    address: Annotated[
        str, typer.Option(help="IP address of this host to listen on, for example 0.0.0.0.")
    ] = "127.0.0.1",
) -> None:
    """Serve the metrics of the whole system to Prometheus until stopped.

    One process serves the metrics of all lanes, workers and versions. Each
    worker serves its own counters and timings: see ANSWERMILL_METRICS_PORT.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from core import logging_setup
    from producer.connections import producer_context
    from producer.monitoring.system_metrics import SystemCollector

    _check(address)
    settings = load()
    with producer_context(settings) as context:
        logging_setup.configure(settings)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SystemCollector(context.engine, context.client, settings))
        try:
            server, thread = start_http_server(port, address, registry)
        except OSError as error:
            raise typer.BadParameter(f"--port {port}: {error.strerror or error}") from None
        err.print(f"metrics: http://{address}:{server.server_port}/metrics")
        _wait_for_signal()
        server.shutdown()
        thread.join()


def _check(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        problem = f"--address {address} is not an IP address; give one such as 127.0.0.1"
        raise typer.BadParameter(problem) from None


def _wait_for_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
