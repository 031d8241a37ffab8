"""CAPTION db.engine."""

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
    encrypted_columns.set_cipher(engine, Cipher(settings.keys))
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
    reading = conn.get_execution_options().get(READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
