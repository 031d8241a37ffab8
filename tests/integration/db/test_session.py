from __future__ import annotations

import sqlite3
import stat
import threading

import pytest
import sqlalchemy as sa

from core.errors import SchemaMissing
from core.settings import load
from core.settings.settings import Settings
from db.engine import open_engine
from db.queries import batches
from db.schema import check_schema, prepare, revision
from db.session import reading, transaction
from db.tables import REVISION
from db.tables import batches as b
from tests.factories import NOW, open_batch, stored_batch


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


def test_a_transaction_commits_at_its_end(engine):
    open_batch(engine, "kept")
    assert _names(engine) == ["kept"]


def test_a_transaction_that_raises_leaves_nothing(engine):
    def store_and_break():
        with transaction(engine) as conn:
            conn.execute(sa.insert(b).values(_row("lost")))
            raise KeyError

    with pytest.raises(KeyError):
        store_and_break()
    assert _names(engine) == []


def _row(name: str) -> dict:
    return {
        "name": name,
        "idempotency_key": "k",
        "lane": "bulk",
        "state": "open",
        "source": "s",
        "created_at": NOW,
    }


def test_a_reader_sees_one_snapshot_though_others_commit(engine):
    stored_batch(engine, name="first")
    with reading(engine) as conn:
        assert len(batches.newest(conn, 10)) == 1
        open_batch(engine, "second")
        assert len(batches.newest(conn, 10)) == 1
    assert _names(engine) == ["second", "first"]


def test_a_reader_does_not_wait_for_a_writer(engine):
    stored_batch(engine, name="first")
    with transaction(engine) as conn:
        conn.execute(sa.insert(b).values(_row("uncommitted")))
        assert _names(engine) == ["first"]


def test_writers_wait_for_each_other(engine):
    """A SQLite transaction that starts as a reader would fail at once instead."""
    batch = open_batch(engine)
    barrier = threading.Barrier(4)
    faults = []

    def count_up():
        barrier.wait()
        try:
            for _ in range(5):
                with transaction(engine) as conn:
                    query = sa.select(b.c.question_count).where(b.c.id == batch.id)
                    seen = conn.scalar(query.with_for_update())
                    conn.execute(sa.update(b).values(question_count=seen + 1))
        except Exception as error:  # noqa: BLE001 - the test asserts that there are none
            faults.append(error)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with reading(engine) as conn:
        assert batches.find(conn, "tickets").question_count == 20


def test_sqlite_keeps_what_was_accepted_through_a_power_cut(home):
    engine = open_engine(Settings(home=home, database_url=f"sqlite:///{home}/x.db"))
    with reading(engine) as conn:
        assert conn.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert conn.scalar(sa.text("PRAGMA synchronous")) == 2  # FULL
        assert conn.scalar(sa.text("PRAGMA foreign_keys")) == 1
    engine.dispose()


def test_a_new_sqlite_file_that_another_process_sets_up_is_waited_for(home, opened):
    """The switch to WAL fails at once while another process writes, despite the timeout."""
    holder = sqlite3.connect(home / "new.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, holder.close)
    release.start()
    try:
        assert revision(opened(f"sqlite:///{home}/new.db")) is None
    finally:
        release.join()


@pytest.mark.parametrize(
    "entry",
    [
        check_schema,
        open_batch,
        _names,
    ],
    ids=["check_schema", "transaction", "reading"],
)
def test_the_error_for_a_database_without_tables_names_the_fix(entry, empty_database_url, opened):
    with pytest.raises(SchemaMissing, match="has no tables yet; run `answermill db upgrade`"):
        entry(opened(empty_database_url))


def test_prepare_refuses_a_database_that_is_not_ours_to_upgrade(empty_database_url, home, opened):
    with pytest.raises(SchemaMissing, match="answermill db upgrade"):
        prepare(load.load(home=home, database_url=empty_database_url))
    assert revision(opened(empty_database_url)) is None


def test_prepare_takes_a_migrated_database(settings):
    engine = prepare(settings)
    assert revision(engine) == REVISION
    engine.dispose()


def test_prepare_makes_the_embedded_database_for_its_owner_alone(home):
    settings = load.load(home=home / "new")
    for _ in range(2):
        engine = prepare(settings)
        assert revision(engine) == REVISION
        engine.dispose()
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


@pytest.mark.parametrize("stored_revision", ["0000", "9999"])
def test_only_an_earlier_schema_is_refused(engine, stored_revision):
    with transaction(engine) as conn:
        conn.execute(
            sa.text("UPDATE alembic_version SET version_num = :new"), {"new": stored_revision}
        )
    if stored_revision > REVISION:
        check_schema(engine)
        return
    with pytest.raises(SchemaMissing, match=f"at revision 0000, not {REVISION}"):
        check_schema(engine)
