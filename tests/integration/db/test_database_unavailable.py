from __future__ import annotations

import sqlite3

import psycopg
import pytest
import sqlalchemy as sa

from core.errors import DatabaseUnavailable, SettingsInvalid
from core.settings import load
from core.settings.settings import Settings
from db import dialect
from db.engine import open_engine
from db.queries import batches, results
from db.schema import check_schema
from db.session import reading, transaction
from db.tables import questions as q
from tests.factories import open_batch, questions, stored_batch

SECRET = "hunter2"


@pytest.fixture
def opened(home):
    """Return a function that opens an engine, which is closed after the test."""
    engines = []

    def open_one(url):
        engines.append(open_engine(Settings(database_url=url, home=home)))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.dispose()


def _names(engine: sa.Engine) -> list[str]:
    with reading(engine) as conn:
        return [batch.name for batch in batches.newest(conn, 10)]


def test_a_sqlite_file_that_is_damaged_later_is_unavailable(opened, sqlite_url, home):
    engine = opened(sqlite_url)
    with reading(engine) as conn:
        page = conn.scalar(sa.text("SELECT rootpage FROM sqlite_master WHERE name = 'batches'"))
        size = conn.scalar(sa.text("PRAGMA page_size"))
    with (home / "answermill.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"x" * size)
    with pytest.raises(DatabaseUnavailable, match="malformed"):
        _names(engine)


def _no_file(home):
    (home / "text.db").write_text("This is not a database. " * 100)
    return f"sqlite:///{home}/text.db"


@pytest.mark.parametrize(
    "url",
    [
        lambda _: f"postgresql://user:{SECRET}@127.0.0.1:1/absent",
        lambda home: f"postgresql://user:{SECRET}@/absent?host={home}",
        lambda _: f"postgresql://127.0.0.1:1/absent?user=u&password={SECRET}",
        lambda home: f"postgresql://user:{SECRET}@/absent?host={home}&no_such_option=1",
        lambda home: f"sqlite:///{home}/missing/answermill.db",
        lambda home: f"sqlite:///{home}",
        _no_file,
    ],
    ids=["refused", "no socket", "query", "option", "no folder", "a folder", "no database"],
)
@pytest.mark.parametrize("entry", [check_schema, open_batch], ids=["reading", "transaction"])
def test_an_unavailable_database_is_reported_without_its_password(url, entry, home, opened):
    engine = opened(url(home))
    with pytest.raises(DatabaseUnavailable) as caught:
        entry(engine)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"database {engine.url.drivername}://")


def test_a_postgresql_database_that_does_not_exist_is_unavailable(postgres_server, opened):
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        check_schema(opened(postgres_server.url("nowhere")))


@pytest.mark.parametrize(
    "url", ["postgresql://h:port/d", "sqlite://", "sqlite+nodriver:///x", "postgresql+x://h/d"]
)
def test_a_url_that_is_none_is_a_wrong_setting(url, home):
    with pytest.raises(SettingsInvalid, match="ANSWERMILL_DATABASE_URL: "):
        open_engine(load.load(home=home, database_url=url))


def _end_connection(conn: sa.Connection, url: str) -> None:
    pid = conn.scalar(sa.text("SELECT pg_backend_pid()"))
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_a_connection_lost_in_a_query_means_unavailable(postgres_url, opened):
    engine = opened(postgres_url)

    def lose_it():
        with transaction(engine) as conn:
            _end_connection(conn, postgres_url)
            batches.newest(conn, 1)

    with pytest.raises(DatabaseUnavailable):
        lose_it()
    assert _names(engine) == []


def test_a_connection_lost_in_copy_means_unavailable(postgres_url, opened):
    engine = opened(postgres_url)
    rows = [
        (1, question.position, question.key, question.text, None, None) for question in questions(3)
    ]
    columns = ("batch_id", "position", "key", "text", "language", "metadata")

    def lose_it():
        with transaction(engine) as conn:
            _end_connection(conn, postgres_url)
            dialect.insert_many(conn, q, columns, rows)

    with pytest.raises(DatabaseUnavailable):
        lose_it()
    assert _names(engine) == []


def test_a_row_that_is_there_already_is_the_same_error_on_both(engine):
    batch = stored_batch(engine, 1)
    row = [(batch.id, 1, "another", "text", None, None)]
    columns = ("batch_id", "position", "key", "text", "language", "metadata")

    def insert_again():
        with transaction(engine) as conn:
            dialect.insert_many(conn, q, columns, row)

    with pytest.raises(sa.exc.IntegrityError):
        insert_again()


def test_a_database_locked_for_long_is_unavailable(opened, sqlite_url, monkeypatch):
    monkeypatch.setattr("db.engine._SQLITE_LOCK_SECONDS", 0.05)
    engine = opened(sqlite_url)
    holder = sqlite3.connect(engine.url.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        open_batch(engine)
    holder.close()
    open_batch(engine)


def test_what_is_our_bug_passes_through(engine):
    def break_it():
        with transaction(engine) as conn:
            results.page(conn, 1, limit=10)
            conn.execute(sa.text("SELECT FROM WHERE"))

    with pytest.raises(Exception, match="syntax"):
        break_it()
