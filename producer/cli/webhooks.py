"""The commands under `webhooks`: list, replay."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from core.console import out, print_json
from core.current_user import current_user
from core.settings.load import load
from producer.connections import database
from producer.webhooks import delivery as deliver

app = typer.Typer(pretty_exceptions_enable=False)
webhooks = typer.Typer(help="Messages about the ends of batches.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")

Ref = Annotated[str, typer.Argument(metavar="BATCH", help="A batch's id or name.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@webhooks.command(name="list")
def list_deliveries(batch: Ref, *, as_json: Json = False) -> None:
    """Show whether a batch's end was told, and what went wrong."""
    with database(load()) as engine:
        found = deliver.listed(engine, batch)
    if as_json:
        print_json({"deliveries": [one.document() for one in found]})
        return
    table = Table("delivery", "event", "state", "attempts", "status", "error", box=None)
    for one in found:
        status = "" if one.status is None else str(one.status)
        row = (str(one.id), one.event, one.state, str(one.attempts), status, one.error or "")
        table.add_row(*row)
    out.print(table)


@webhooks.command()
def replay(batch: Ref, delivery: Annotated[int, typer.Argument(metavar="DELIVERY", min=0)]) -> None:
    """Let the HTTP front send a message again, however it stands."""
    with database(load()) as engine:
        again = deliver.replay(engine, batch, delivery, by=f"user {current_user()}")
    out.print(f"{again.event} of batch {again.batch_id} is sent again as {again.message_id}")
