"""The commands `up`, `demo`, `db` and `check`."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
import typer

from db import cipher, dialect, migrate, queues, rotation, sealed, versions
from db.config import Settings, load, redact
from db.entities import InForce
from db.errors import AnswermillError, BrokerTaken, SettingsInvalid
from db.session import check_schema, make_home, open_engine, reading, revision
from db.tables import REVISION
from db.terminal import err, out, parse_duration
from producer.display import bar
from producer.services import database as opened

if TYPE_CHECKING:
    from celery import Celery

app = typer.Typer(pretty_exceptions_enable=False)
database = typer.Typer(help="The database: its schema, and what is old.", no_args_is_help=True)
app.add_typer(database, name="db")

_WATCH_SECONDS = 0.5

Workers = Annotated[int, typer.Option(min=1, help="Worker processes, one model each.")]


@app.command()
def up(workers: Workers = 1) -> None:
    """Run Redis, SQLite, workers and Flower here until Ctrl-C."""
    from stack.embedded import running

    settings = load()
    version = _in_force(settings).version
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
    return place.removeprefix("sqlite:///") if embedded else "as the settings say"


def _in_force(settings: Settings) -> InForce:
    """Return what workers will answer with.

    Raises:
        ModelUnknown: nothing is built or chosen yet.
    """
    with opened(settings) as engine, reading(engine) as conn:
        return versions.in_force(conn, settings.model)


@app.command()
def demo(
    *,
    workers: Workers = 1,
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop when all is answered, also on a terminal.")
    ] = False,
) -> None:
    """Start everything here, answer the sample that ships, show it."""
    from stack.demo import run

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


@contextlib.contextmanager
def _unchecked(settings: Settings) -> Iterator[sa.Engine]:
    """Open the database, whatever its schema."""
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
    """Tell whether the database has this release's schema."""
    with _unchecked(load()) as engine:
        check_schema(engine)
        out.print(f"the schema is at {_checked(engine)}")


@database.command()
def prune(
    *,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="How long ago they finished: 90d, 12h.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many it would be, and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Delete batches that finished long ago, with their questions and results.

    And uploaded files as old that no batch was made of. It deletes in small
    steps while everything works; interrupted and run again, it goes on.
    """
    from stack.prune_display import run

    run(load(), parse_duration(older_than), dry_run=dry_run, as_json=as_json)


@database.command(name="encryption-key")
def encryption_key() -> None:
    """Make a key for ANSWERMILL_ENCRYPTION_KEYS; it is shown and kept nowhere."""
    out.print(cipher.new_key())


@database.command(name="rotate-key")
def rotate_key(
    *,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Store plain text again; no key encrypts any more.")
    ] = False,
) -> None:
    """Encrypt what is stored with the first key; goes on where it was interrupted."""
    settings = load()
    if not settings.keys:
        fault = "not set; `answermill db encryption-key` makes a key"
        raise SettingsInvalid([f"ANSWERMILL_ENCRYPTION_KEYS: {fault}"])
    with opened(settings) as engine, bar(err) as show:
        told = cipher.Cipher(settings.keys, opens_only=decrypt)
        sealed.equip(engine, told)
        rows = rotation.rotate(engine, on_progress=show)
    how = f"encrypted with the key {told.current}" if told.current else "decrypted"
    out.print(f"{rows:,} rows {how}; the rest was so already")


def _checked(engine: sa.Engine) -> str:
    """Return the revision of a schema that will do."""
    found = revision(engine)
    if found is not None and found > REVISION:
        return _later(found)
    return f"{found}, as this release needs it"


def _later(found: str) -> str:
    return f"{found}, later than this release's {REVISION}, which one release of skew allows"


@app.command()
def check() -> None:
    """Check every setting and connection; tell all faults at once."""
    settings = load()
    status = 0
    probes = _PROBES | ({"store": _check_store} if settings.store_url else {})
    for name, probe in probes.items():
        try:
            out.print(f"ok     {name:9} {probe(settings)}")
        except AnswermillError as error:
            out.print(f"fault  {name:9} {error}")
            status = max(status, error.exit_status)
    raise typer.Exit(status)


def _check_database(settings: Settings) -> str:
    with opened(settings) as engine:
        return f"schema {_checked(engine)}"


def _check_broker(settings: Settings) -> str:
    from producer.broker import check as check_broker
    from producer.broker import open_broker

    client = open_broker(settings)
    check_broker(client, settings)
    _check_owner(client, settings)
    return "Redis answers"


def _check_owner(client: Celery, settings: Settings) -> None:
    """Refuse a Redis that workers on another database use; ours may be the one that is away."""
    ours = None
    with contextlib.suppress(AnswermillError), opened(settings) as engine, reading(engine) as conn:
        ours = dialect.database_identity(conn)
    if ours is not None and queues.owner(client, settings) not in (None, ours):
        raise BrokerTaken(redact(settings.broker))


def _check_model(settings: Settings) -> str:
    found = _in_force(settings)
    _check_bundles(settings, found)
    told = f"workers would answer with {found.version}"
    if found.canary is None:
        return told
    return f"{told}, {found.canary.canary_share:.1%} of the jobs with {found.canary}"


def _check_bundles(settings: Settings, found: InForce) -> None:
    """Look into the store where there may be a worker; a producer needs none."""
    if importlib.util.find_spec("safetensors") is None:
        return
    from worker.model.place import require_bundle

    for version in filter(None, (found.version, found.canary)):
        require_bundle(settings, version)


def _check_store(settings: Settings) -> str:
    from worker.model import store  # a folder as the store needs none of it, nor does a producer

    url = settings.store_url or ""
    store.reach(url)
    return f"{redact(url)} answers"


_PROBES: dict[str, Callable[[Settings], str]] = {
    "database": _check_database,
    "broker": _check_broker,
    "model": _check_model,
}
