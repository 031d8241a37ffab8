"""The command `check`: every setting and connection."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from broker import ownership
from core.console import out
from core.domain.model_version import ActiveVersions
from core.errors import AnswermillError, BrokerInUse
from core.settings.load import load
from core.settings.settings import Settings
from core.settings.urls import redact
from db import dialect
from db.session import reading
from producer.connections import database as opened
from producer.promotions import active_versions
from stack.cli.database import describe_schema

if TYPE_CHECKING:
    from celery import Celery

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def check() -> None:
    """Check every setting and connection, and report all faults."""
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
        return f"schema {describe_schema(engine)}"


def _check_broker(settings: Settings) -> str:
    from broker.client import check as check_broker
    from broker.client import open_broker

    client = open_broker(settings)
    check_broker(client, settings)
    _check_owner(client, settings)
    return "Redis answers"


def _check_owner(client: Celery, settings: Settings) -> None:
    """Refuse a Redis that workers of another database use.

    Without access to its own database, the check is left out.
    """
    ours = None
    with contextlib.suppress(AnswermillError), opened(settings) as engine, reading(engine) as conn:
        ours = dialect.database_identity(conn)
    if ours is not None and ownership.broker_owner(client, settings) not in (None, ours):
        raise BrokerInUse(redact(settings.broker))


def _check_model(settings: Settings) -> str:
    found = active_versions(settings)
    _check_bundles(settings, found)
    text = f"workers would answer with {found.version}"
    if found.canary is None:
        return text
    return f"{text}, {found.canary.canary_share:.1%} of the jobs with {found.canary}"


def _check_bundles(settings: Settings, found: ActiveVersions) -> None:
    """Check the bundles in the store, if this installation can run a worker."""
    if importlib.util.find_spec("safetensors") is None:
        return
    from worker.model.bundle.location import require_bundle

    for version in filter(None, (found.version, found.canary)):
        require_bundle(settings, version)


def _check_store(settings: Settings) -> str:
    from worker.model.bundle import (
        remote_store,  # a folder as the store needs none of it, nor does a producer
    )

    url = settings.store_url or ""
    remote_store.check_reachable(url)
    return f"{redact(url)} answers"


_PROBES: dict[str, Callable[[Settings], str]] = {
    "database": _check_database,
    "broker": _check_broker,
    "model": _check_model,
}
