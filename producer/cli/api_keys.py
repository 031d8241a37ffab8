"""The commands under `keys`: create, list, revoke and rotate.

Each change is recorded in the table `audit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table

from core.console import err, out, parse_duration, print_json
from core.current_user import current_user
from core.domain.api_key import ApiKey, Scope
from core.settings.load import load
from db.clock import DatabaseClock
from db.queries import api_keys, audit_log
from db.session import reading, transaction
from producer.connections import database

app = typer.Typer(pretty_exceptions_enable=False)
keys_app = typer.Typer(help="Manage the API keys of the HTTP front.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Expires = Annotated[str | None, typer.Option(help="Lifetime, for example 90d; default: unlimited.")]


@keys_app.command()
def create(
    name: Name,
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="Scope of the key; repeatable. Default: submit and read."),
    ] = None,
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Create a key and print its secret, which cannot be printed again."""
    scopes = scope or [Scope.SUBMIT, Scope.READ]
    secret = api_keys.new_secret()
    with _changing("keys.create", name) as (conn, now):
        key = api_keys.create(conn, name, secret, scopes, expires_at=_after(now, expires), now=now)
    _show(key, secret, as_json=as_json)


@keys_app.command()
def rotate(
    name: Name,
    *,
    overlap: Annotated[
        str, typer.Option(help="Duration for which the old key stays valid.")
    ] = "1h",
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Create a new key with the same scopes.

    The old key ends after the overlap.
    """
    secret, overlap_time = api_keys.new_secret(), parse_duration(overlap)
    with _changing("keys.rotate", name) as (conn, now):
        until = now + overlap_time
        ends = _after(now, expires)
        key = api_keys.rotate(conn, name, secret, expires_at=ends, others_until=until, now=now)
    _show(key, secret, as_json=as_json)


@keys_app.command()
def revoke(name: Name) -> None:
    """End a key at once, together with the older keys of its name."""
    with _changing("keys.revoke", name) as (conn, now):
        count = api_keys.revoke(conn, name, now)
    out.print(f"revoked {count} {'secret' if count == 1 else 'secrets'} of {name}")


@keys_app.command(name="list")
def list_keys(*, as_json: Json = False) -> None:
    """List all keys, expired and revoked ones included, without secrets."""
    with database(load()) as engine:
        now = DatabaseClock(engine)()
        with reading(engine) as conn:
            keys = api_keys.listed(conn)
    if as_json:
        print_json({"keys": [_document(key, now) for key in keys]})
        return
    table = Table("name", "serial", "scopes", "state", "created", "expires", box=None)
    for key in keys:
        document = _document(key, now)
        ends = key.expires_at.date().isoformat() if key.expires_at else "never"
        table.add_row(
            key.name,
            str(key.serial),
            " ".join(document["scopes"]),
            document["state"],
            key.created_at.date().isoformat(),
            ends,
        )
    out.print(table)


@contextmanager
def _changing(action: str, name: str) -> Iterator[tuple[sa.Connection, datetime]]:
    with database(load()) as engine:
        now = DatabaseClock(engine)()
        with transaction(engine) as conn:
            yield conn, now
            audit_log.record(
                conn, actor=f"user {current_user()}", action=action, target=name, now=now
            )


def _after(now: datetime, text: str | None) -> datetime | None:
    if text is None:
        return None
    span = parse_duration(text)
    if span <= timedelta(0):
        raise typer.BadParameter(f"--expires {text} leaves no time; give a duration such as 90d")
    return now + span


def _document(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "live" if key.is_active(now) else "revoked" if key.revoked_at else "expired"
    return {
        "name": key.name,
        "serial": key.serial,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _show(key: ApiKey, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_document(key, key.created_at), "key": secret})
        return
    out.print(secret)
    if out.is_terminal:
        err.print("store this key now: it cannot be shown again")
