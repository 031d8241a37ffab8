"""Engines for SQLite and PostgreSQL.

Each engine gets its timeouts, its cipher and, for SQLite, WAL and explicit transactions.
Not covered: transactions and the translation of errors (`db.session`), the schema (`db.schema`).
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from core.encryption import Cipher
from core.errors import SettingsInvalid
from core.settings.settings import Settings
from db import encrypted_columns
from db.session import READING

# Seconds that a writer waits for SQLite's write lock, which one writer holds at a time; higher:
# more patience with long transactions, a later error if one hangs.
_SQLITE_LOCK_SECONDS = 30

# Seconds between two tries to switch a new SQLite file to WAL; higher: fewer tries, slower start.
_WAL_RETRY_SECONDS = 0.01

# Seconds to connect to PostgreSQL; higher: more patience with a slow network, a later error.
_CONNECT_SECONDS = 5

# Milliseconds that a statement waits for a lock in PostgreSQL; higher: more patience with long
# transactions, a later error if one hangs.
_LOCK_MILLISECONDS = 30_000

# A PostgreSQL server that was restarted or cut off is detected within 10 seconds. With the
# defaults of Linux, a worker would wait 2 hours for its response. Higher: fewer probes.
_TCP_KEEPALIVE = {
    "keepalives_idle": 4,  # seconds
    "keepalives_interval": 2,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

# Connections that an engine keeps open; higher: more concurrent transactions of one process.
_POOL_SIZE = 4


def open_engine(settings: Settings, *, ping: bool = True) -> sa.Engine:
    """Return an engine that has not connected yet.

    Args:
        settings: the database URL and the encryption keys.
        ping: whether each transaction first checks that its connection to PostgreSQL is alive.
            Without the check, one transaction fails after a restart of the database. Callers
            that retry anyway can save the round trip.

    Raises:
        SettingsInvalid: the database URL cannot be used.
        ExtraMissing: keys are configured, and the encryption package is not installed.
    """
    try:
        url = sa.make_url(settings.database)
    except (exc.ArgumentError, ValueError):  # ValueError: the port is not a number
        fault = "not a database URL; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        raise SettingsInvalid([f"ANSWERMILL_DATABASE_URL: {fault}"]) from None
    sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite_engine(url) if sqlite else _postgresql_engine(url, ping)
    encrypted_columns.set_cipher(engine, Cipher(settings.keys))
    return engine


def _postgresql_engine(url: sa.URL, ping: bool) -> sa.Engine:  # noqa: FBT001 - passed through
    return sa.create_engine(
        url,
        pool_pre_ping=ping,
        pool_size=_POOL_SIZE,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c timezone=UTC -c lock_timeout={_LOCK_MILLISECONDS}",
            "application_name": "answermill",
            "client_encoding": "utf8",  # a server without a locale reports SQL_ASCII
            **_TCP_KEEPALIVE,
        },
    )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if url.database in (None, "", ":memory:"):
        fault = "a database in memory is visible to one connection only; use sqlite:///FILE"
        raise SettingsInvalid([f"ANSWERMILL_DATABASE_URL: {fault}"])
    engine = sa.create_engine(url, connect_args={"timeout": _SQLITE_LOCK_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(raw: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3.Connection
    raw.isolation_level = None  # the driver must not begin transactions: _begin_sqlite does
    _switch_to_wal(raw)
    raw.execute("PRAGMA synchronous=FULL")  # a committed row survives a power cut
    raw.execute("PRAGMA foreign_keys=ON")


def _switch_to_wal(raw: Any) -> None:  # noqa: ANN401 - sqlite3.Connection
    until = time.monotonic() + _SQLITE_LOCK_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # If two processes switch a new file, one fails at once, despite the timeout.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_WAL_RETRY_SECONDS)
        else:
            return


def _begin_sqlite(conn: sa.Connection) -> None:
    # A deferred transaction fails at once if it starts to write while another one does, so a
    # writer takes the lock at its beginning.
    reading = conn.get_execution_options().get(READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
