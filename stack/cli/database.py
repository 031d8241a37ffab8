"""The commands under `db`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import sqlalchemy as sa
import typer

from core import encryption
from core.console import err, out, parse_duration
from core.errors import SettingsInvalid
from core.settings.load import load
from core.settings.settings import Settings
from db import encrypted_columns
from db.engine import open_engine
from db.migrations import run as migrate
from db.operations import key_rotation
from db.schema import check_schema, make_home, revision
from db.tables import REVISION
from producer.cli.display import bar
from producer.connections import database as opened

database = typer.Typer(help="The database: its schema, and what is old.", no_args_is_help=True)
app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(database, name="db")


@contextlib.contextmanager
def _unchecked(settings: Settings) -> Iterator[sa.Engine]:
    """Open the database without a check of its schema."""
    if settings.embedded_database:
        make_home(settings)
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


@database.command()
def upgrade() -> None:
    """Bring the database to this release's schema."""
    with _unchecked(load()) as engine:
        before = revision(engine)
        if before is not None and before > REVISION:
            out.print(f"the schema is at {_later(before)}; it is left as it is")
            return
        migrate.upgrade(engine)
        after = revision(engine)
    was = "" if before == after else f", was {f'at {before}' if before else 'without tables'}"
    out.print(f"the schema is at {after}{was}")


@database.command(name="check")
def check_database() -> None:
    """Check that the database has this release's schema."""
    with _unchecked(load()) as engine:
        check_schema(engine)
        out.print(f"the schema is at {describe_schema(engine)}")


@database.command()
def prune(
    *,
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="Minimum age of finished batches, such as 90d or 12h."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the rows, and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Delete batches that finished long ago, with their questions and results.

    Also deletes uploaded files of that age that no batch uses. Deletes in
    small steps while workers run. After an interruption, run it again.
    """
    from stack.retention.display import run

    run(load(), parse_duration(older_than), dry_run=dry_run, as_json=as_json)


@database.command(name="encryption-key")
def encryption_key() -> None:
    """Generate a key for ANSWERMILL_ENCRYPTION_KEYS and print it.

    The key is stored nowhere.
    """
    out.print(encryption.new_key())


@database.command(name="rotate-key")
def rotate_key(
    *,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Store plain text again, without encryption.")
    ] = False,
) -> None:
    """Encrypt stored texts again with the first key.

    After an interruption, run it again.
    """
    settings = load()
    if not settings.keys:
        fault = "not set; `answermill db encryption-key` makes a key"
        raise SettingsInvalid([f"ANSWERMILL_ENCRYPTION_KEYS: {fault}"])
    with opened(settings) as engine, bar(err) as show:
        cipher = encryption.Cipher(settings.keys, decrypt_only=decrypt)
        encrypted_columns.set_cipher(engine, cipher)
        rows = key_rotation.reencrypt_all(engine, on_progress=show)
    how = f"encrypted with the key {cipher.current}" if cipher.current else "decrypted"
    out.print(f"{rows:,} rows {how}; the other rows were already")


def describe_schema(engine: sa.Engine) -> str:
    """Return the revision of a schema that will do."""
    found = revision(engine)
    if found is not None and found > REVISION:
        return _later(found)
    return f"{found}, as this release needs it"


def _later(found: str) -> str:
    return f"{found}, later than this release's {REVISION}, which one release of skew allows"
