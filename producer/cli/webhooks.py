"""The commands under `webhooks`: list and replay."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from core.console import out, print_json
from core.current_user import current_user
from core.settings.load import load
from producer.connections import database
from producer.webhooks import delivery as deliveries

app = typer.Typer(pretty_exceptions_enable=False)
webhooks = typer.Typer(help="Inspect and resend webhooks of batches.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")

Ref = Annotated[str, typer.Argument(metavar="BATCH", help="Id or name of the batch.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@webhooks.command(name="list")
def list_deliveries(batch: Ref, *, as_json: Json = False) -> None:
    """List the webhook deliveries of a batch with their errors."""
    with database(load()) as engine:
        items = deliveries.listed(engine, batch)
    if as_json:
        print_json({"deliveries": [item.document() for item in items]})
        return
    table = Table("delivery", "event", "state", "attempts", "status", "error", box=None)
    for item in items:
        status = "" if item.status is None else str(item.status)
        row = (str(item.id), item.event, item.state, str(item.attempts), status, item.error or "")
        table.add_row(*row)
    out.print(table)


@webhooks.command()
def replay(
    batch: Ref,
    delivery: Annotated[
        int,
        typer.Argument(
            metavar="DELIVERY", min=0, help="Number of the delivery in `webhooks list`."
        ),
    ],
) -> None:
    """Send a webhook again through the HTTP front, in any state."""
    with database(load()) as engine:
        item = deliveries.replay(engine, batch, delivery, by=f"user {current_user()}")
    out.print(f"{item.event} of batch {item.batch_id} will be sent again as {item.message_id}")
