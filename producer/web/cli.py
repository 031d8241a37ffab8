"""The command `answermill web`, which serves the HTTP front."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import ExtraMissing
from core.settings.load import load

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def web(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port to listen on.")] = None,
) -> None:
    """Serve the HTTP API and the web pages until stopped.

    Create API keys with `answermill keys create`.
    """
    try:
        from producer.web.server import serve
    except ModuleNotFoundError as error:
        package = (error.name or "gunicorn").partition(".")[0]
        raise ExtraMissing(package, "web") from error
    serve(load(web_port=port), host)
