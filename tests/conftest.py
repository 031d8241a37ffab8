"""Fixtures that every test may use: own surroundings, real databases, real Redis.

A test that takes `engine`, `settings` or `database_url` runs twice, on SQLite and on
PostgreSQL, on a migrated database of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import redis
import sqlalchemy as sa

from core.settings import base, load
from core.settings.settings import Settings
from db.engine import open_engine
from db.migrations.run import upgrade
from tests import services

# A slow machine is not a fault of the code under test.
hypothesis.settings.register_profile("answermill", deadline=None)
hypothesis.settings.load_profile("answermill")

# Fixtures that start a service or build a model; `make test-fast` leaves their tests out.
_COSTLY = {"database_kind", "postgres_server", "redis_server", "tiny_encoder"}

_TEMPLATE = "answermill_template"
_numbers = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a costly fixture."""
    for item in items:
        if _COSTLY & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.costly)


@pytest.fixture(autouse=True)
def _ctrl_c_is_received() -> None:
    """Let the processes that tests start receive SIGINT.

    A shell without job control starts its background processes with SIGINT ignored, and
    children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home() -> Iterator[Path]:
    """A short folder of the test's own, for HOME and its socket."""
    with services.short_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def _own_surroundings(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's settings, .env file and data folder."""
    for name in os.environ:
        if name.upper().startswith(base.PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[services.Postgres]:
    """A PostgreSQL server with a migrated database to copy."""
    with services.short_folder() as folder, ExitStack() as stack:
        try:
            server = stack.enter_context(services.postgres(folder))
        except Exception as error:  # noqa: BLE001 - any failure means that the service is missing
            services.missing("PostgreSQL", error)
        _migrate(server.create(_TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def sqlite_template() -> Iterator[Path]:
    """A migrated SQLite file to copy."""
    with services.short_folder() as folder:
        file = folder / "template.db"
        _migrate(f"sqlite:///{file}")
        yield file


def _migrate(url: str) -> None:
    engine = open_engine(Settings(database_url=url, broker_url="redis://unused"))
    try:
        upgrade(engine)
    finally:
        engine.dispose()


@pytest.fixture
def postgres_url(postgres_server: services.Postgres) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of the test's own."""
    name = f"test_{next(_numbers)}"
    yield postgres_server.create(name, _TEMPLATE)
    postgres_server.drop(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, home: Path) -> str:
    """The URL of a migrated SQLite database of the test's own."""
    return f"sqlite:///{shutil.copy(sqlite_template, home / 'answermill.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """The kind of database that the test runs on: it runs once on each."""
    return request.param


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[database_kind]
    return request.getfixturevalue(fixture)


@pytest.fixture
def empty_database_url(
    database_kind: str, request: pytest.FixtureRequest, home: Path
) -> Iterator[str]:
    """The URL of a database without our tables."""
    if database_kind == "sqlite":
        yield f"sqlite:///{home / 'empty.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    name = f"empty_{next(_numbers)}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture
def settings(database_url: str, home: Path) -> Settings:
    """Settings with a migrated database, HOME in a folder of the test's own, no Redis."""
    return load.load(home=home, database_url=database_url)


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """An engine on a migrated database."""
    engine = open_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A redis-server; its socket's path."""
    with services.short_folder() as folder, ExitStack() as stack:
        try:
            socket = stack.enter_context(services.redis_server(folder))
        except Exception as error:  # noqa: BLE001 - any failure means that the service is missing
            services.missing("Redis", error)
        yield socket


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis."""
    with redis.Redis(unix_socket_path=redis_server) as client:
        client.flushall()
    return f"redis+socket://{redis_server}"


@pytest.fixture
def settings_with_redis(database_url: str, redis_url: str, home: Path) -> Settings:
    """Settings with a migrated database and an empty Redis."""
    return load.load(home=home, database_url=database_url, broker_url=redis_url)
