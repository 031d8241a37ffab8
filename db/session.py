"""The engine, and `transaction()`: the only place that commits.

Faults of the database come out of here as `DatabaseAway` or `SchemaMissing`, its address
without the password; whatever else SQLAlchemy raises is our bug and passes through.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from db import dialect, sealed, tls
from db.cipher import Cipher
from db.config import Settings, redact
from db.errors import DatabaseAway, SchemaMissing, SettingsInvalid
from db.tables import REVISION

# A writer waits this long for another one to finish; SQLite has one writer at a time.
_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5
# A server that has gone without a word, restarted or cut off, is noticed within ten seconds; by
# default a worker that waits for its answer would wait for two hours.
_NOTICE_SILENCE = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
_SWITCH_PAUSE_SECONDS = 0.01
_LOCK_MILLISECONDS = 30_000
_READING = "answermill_reading"


def open_engine(settings: Settings, *, ping: bool = True) -> sa.Engine:
    """Return an engine; nothing is connected to yet.

    Args:
        settings: read once.
        ping: whether each transaction first asks PostgreSQL if it is still there. Without, one
            fails after a restart of the database: for callers that try again anyway.

    Raises:
        SettingsInvalid: the URL is not one.
        ExtraMissing: there are keys, and what encrypts is not installed.
    """
    try:
        url = sa.make_url(settings.database)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise SettingsInvalid(["ANSWERMILL_DATABASE_URL: not a database URL"]) from None
    sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite_engine(url) if sqlite else _postgresql_engine(url, ping)
    sealed.equip(engine, Cipher(settings.keys))
    return engine


def _postgresql_engine(url: sa.URL, ping: bool) -> sa.Engine:  # noqa: FBT001 - handed through
    return sa.create_engine(
        url,
        pool_pre_ping=ping,
        pool_size=4,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c timezone=UTC -c lock_timeout={_LOCK_MILLISECONDS}",
            "application_name": "answermill",
            "client_encoding": "utf8",  # a server set up without a locale says SQL_ASCII
            **_NOTICE_SILENCE,
        },
    )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if url.database in (None, "", ":memory:"):
        fault = "one connection alone sees a database in memory; use sqlite:///FILE"
        raise SettingsInvalid([f"ANSWERMILL_DATABASE_URL: {fault}"])
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(raw: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3.Connection
    raw.isolation_level = None  # we say BEGIN ourselves
    _switch_to_wal(raw)
    raw.execute("PRAGMA synchronous=FULL")  # accepted means it survives a power cut
    raw.execute("PRAGMA foreign_keys=ON")


def _switch_to_wal(raw: Any) -> None:  # noqa: ANN401 - sqlite3.Connection
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # On a new file the switch fails at once, whatever the timeout, when two make it.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_SWITCH_PAUSE_SECONDS)
        else:
            return


def _begin_sqlite(conn: sa.Connection) -> None:
    # A deferred transaction that turns into a writer may fail at once; take the lock first.
    reading = conn.get_execution_options().get(_READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block in one transaction; commit it, or roll it back when it raises.

    Raises:
        DatabaseAway: the database can't be reached, or does not serve.
        SchemaMissing: it lacks our tables.
    """
    with _translated(engine), engine.begin() as conn:
        yield conn


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Run the block on one snapshot, without taking the writer's lock."""
    options: dict[str, Any] = {_READING: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(engine), engine.connect() as conn:
        yield conn.execution_options(**options)


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        cause = str(error.orig).strip()
        if "no such table" in cause or "UndefinedTable" in type(error.orig).__name__:
            raise SchemaMissing(_address(engine), None, REVISION) from error
        if not _is_away(error):
            raise
        told = cause.splitlines()[0] if cause else "no answer"
        problem = tls.postgres_fault(engine.url, cause) or told
        raise DatabaseAway(_address(engine), problem) from error
    except exc.TimeoutError as error:
        raise DatabaseAway(_address(engine), str(error).splitlines()[0]) from error


def _is_away(error: exc.DBAPIError) -> bool:
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return True
    if type(error) is exc.DatabaseError:  # SQLite: the file is damaged, or no database
        return True
    return error.statement is None  # it came to no statement: there is no connecting


def _address(engine: sa.Engine) -> str:
    return redact(engine.url.render_as_string(hide_password=True))


def revision(engine: sa.Engine) -> str | None:
    """Return the Alembic revision that the database is at, None when it has no tables."""
    if engine.url.get_backend_name() == "sqlite":
        file = Path(str(engine.url.database))
        if file.parent.is_dir() and not file.exists():
            return None  # to look would make an empty file
    with reading(engine) as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        found: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def check_schema(engine: sa.Engine) -> None:
    """Refuse a database that lacks what this release needs.

    A later revision is taken: a release's first migrations keep its forerunner running.

    Raises:
        SchemaMissing: the database is behind.
    """
    found = revision(engine)
    if found is None or found < REVISION:
        raise SchemaMissing(_address(engine), found, REVISION)


def prepare(settings: Settings) -> sa.Engine:
    """Open the database and check its schema; the embedded one is created and upgraded.

    Raises:
        SchemaMissing: a database that is not ours to upgrade is behind.
        DatabaseAway: it can't be reached.
    """
    engine = open_engine(settings)
    try:
        if settings.embedded_database:
            make_home(settings)
            _upgrade_if_behind(engine)
        else:
            check_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def make_home(settings: Settings) -> None:
    """Make the folder of everything embedded, for its owner alone, unless it is there.

    Raises:
        SettingsInvalid: it can't be made.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        fault = f"{settings.home} can't be made: {error.strerror}"
        raise SettingsInvalid([f"ANSWERMILL_HOME: {fault}"]) from error


def _upgrade_if_behind(engine: sa.Engine) -> None:
    found = revision(engine)
    if found is None or found < REVISION:
        from db.migrate import upgrade  # Alembic takes long to import

        upgrade(engine)


class DatabaseClock:
    """The database's time, so that the clocks of many machines need not agree.

    Asked once and then carried on by this machine's monotonic clock, which no
    administrator sets; asked again now and then against drift. That takes a connection, so
    whoever may be one of many threads asks before it takes one itself: as many as there are
    connections, each holding one and waiting for a second, would wait for each other.
    """

    def __init__(self, engine: sa.Engine, *, refresh_seconds: float = 300.0) -> None:
        self._engine = engine
        self._refresh_seconds = refresh_seconds
        # One object, so that a thread never reads the moment of one answer with another's time.
        self._answer = (float("-inf"), datetime.min.replace(tzinfo=UTC))

    def __call__(self) -> datetime:
        """Return the time, aware, UTC."""
        asked, at = self._answer
        if time.monotonic() - asked > self._refresh_seconds:
            self._answer = asked, at = self._ask()
        return at + timedelta(seconds=time.monotonic() - asked)

    def _ask(self) -> tuple[float, datetime]:
        with reading(self._engine) as conn:
            value = dialect.database_time(conn)
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.monotonic(), at.astimezone(UTC)
