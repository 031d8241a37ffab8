"""The commands under `keys`: create, list, revoke, rotate. Each change leaves a row in `audit`."""

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
keys_app = typer.Typer(help="API keys of the HTTP front.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Expires = Annotated[str | None, typer.Option(help="When it ends by itself: 90d.")]


@keys_app.command()
def create(
    name: Name,
    *,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it opens; repeatable.")] = None,
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it: this once, it can't be shown again."""
    scopes = scope or [Scope.SUBMIT, Scope.READ]
    secret = api_keys.new_secret()
    with _changing("keys.create", name) as (conn, now):
        made = api_keys.create(conn, name, secret, scopes, expires_at=_after(now, expires), now=now)
    _show(made, secret, as_json=as_json)


@keys_app.command()
def rotate(
    name: Name,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old one still opens.")] = "1h",
    expires: Expires = None,
    as_json: Json = False,
) -> None:
    """Make a new key with the same scopes; the old one ends after the overlap."""
    secret, lasting = api_keys.new_secret(), parse_duration(overlap)
    with _changing("keys.rotate", name) as (conn, now):
        until = now + lasting
        ends = _after(now, expires)
        made = api_keys.rotate(conn, name, secret, expires_at=ends, others_until=until, now=now)
    _show(made, secret, as_json=as_json)


@keys_app.command()
def revoke(name: Name) -> None:
    """End a key at once, and what is left of those that it replaced."""
    with _changing("keys.revoke", name) as (conn, now):
        count = api_keys.revoke(conn, name, now)
    out.print(f"revoked {count} {'secret' if count == 1 else 'secrets'} of {name}")


@keys_app.command(name="list")
def list_keys(*, as_json: Json = False) -> None:
    """Show every key there ever was; never its secret."""
    with database(load()) as engine:
        now = DatabaseClock(engine)()
        with reading(engine) as conn:
            found = api_keys.listed(conn)
    if as_json:
        print_json({"keys": [_document(key, now) for key in found]})
        return
    table = Table("name", "serial", "scopes", "state", "created", "expires", box=None)
    for key in found:
        told = _document(key, now)
        ends = key.expires_at.date().isoformat() if key.expires_at else "never"
        table.add_row(
            key.name,
            str(key.serial),
            " ".join(told["scopes"]),
            told["state"],
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
        raise typer.BadParameter(f"--expires {text} leaves no time")
    return now + span


def _document(key: ApiKey, now: datetime) -> dict[str, Any]:
    state = "live" if key.live(now) else "revoked" if key.revoked_at else "expired"
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
        err.print("keep it: it can't be shown again")
