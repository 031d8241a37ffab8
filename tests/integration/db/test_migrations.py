from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import db
from core.settings.settings import Settings
from db import tables
from db.engine import open_engine
from db.migrations.run import configuration, upgrade
from db.queries import model_versions
from db.schema import revision
from db.session import reading, transaction
from tests.factories import stored_batch

_ROOT = Path(db.__file__).parents[1]

_UPGRADE_WHEN_TOLD = """
import sys
from core.settings.load import load
from db.migrations.run import upgrade
from db.engine import open_engine
engine = open_engine(load(database_url=sys.argv[1], broker_url="redis://unused"))
print("ready", flush=True)
sys.stdin.readline()
upgrade(engine)
"""


@pytest.fixture
def empty_engine(empty_database_url, home):
    engine = open_engine(Settings(database_url=empty_database_url, home=home))
    yield engine
    engine.dispose()


def _described(engine: sa.Engine) -> dict[str, Any]:
    """Return the schema that the database reports, with the names of constraints."""
    inspector = sa.inspect(engine)
    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c["default"])
                for c in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": inspector.get_foreign_keys(table),
            "unique": sorted(
                inspector.get_unique_constraints(table), key=lambda item: item["name"]
            ),
            "indexes": sorted(
                (
                    {
                        "name": item["name"],
                        "columns": item["column_names"],
                        "unique": item["unique"],
                        "where": str(
                            item["dialect_options"].get(f"{engine.dialect.name}_where", "")
                        ),
                    }
                    for item in inspector.get_indexes(table)
                ),
                key=lambda item: item["name"],
            ),
        }
        for table in tables.metadata.tables
    }


def _with_one_spelling_of_in(described: dict[str, Any]) -> str:
    return str(described).replace("IN ('queued', 'running')", "IN ('queued','running')")


def test_migrations_make_the_tables_that_the_code_knows(engine):
    with reading(engine) as conn:
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_migrations_make_the_same_indexes_and_constraints_by_name(engine, empty_engine):
    """Partial indexes and names, which Alembic's comparison ignores."""
    tables.metadata.create_all(empty_engine)
    assert _with_one_spelling_of_in(_described(engine)) == _with_one_spelling_of_in(
        _described(empty_engine)
    )


@pytest.mark.parametrize("view", tables.views.tables.values(), ids=str)
def test_a_view_has_the_columns_that_the_code_knows(engine, view):
    names = [c["name"] for c in sa.inspect(engine).get_columns(view.name)]
    assert names == [c.name for c in view.columns]


def test_the_revision_of_the_code_is_the_last_migration(engine):
    (head,) = ScriptDirectory.from_config(configuration()).get_heads()
    assert head == tables.REVISION
    assert revision(engine) == tables.REVISION


def test_revisions_sort_as_they_follow_each_other():
    """`check_schema` compares revisions as text."""
    script = ScriptDirectory.from_config(configuration())
    order = [names.revision for names in script.walk_revisions("base", "heads")][::-1]
    assert order == sorted(order)


def test_migrations_never_import_the_tables():
    for file in (_ROOT / "db" / "migrations" / "versions").rglob("*.py"):
        assert "db." not in "".join(
            line for line in file.read_text().splitlines() if "import" in line
        ), file


def test_upgrading_twice_changes_nothing(engine):
    batch = stored_batch(engine)
    upgrade(engine)
    assert revision(engine) == tables.REVISION
    with reading(engine) as conn:
        assert conn.scalar(sa.select(tables.batches.c.id)) == batch.id


def test_upgrading_from_the_first_tables_keeps_every_row(empty_engine):
    upgrade(empty_engine, "0001")
    with transaction(empty_engine) as conn:
        conn.execute(
            sa.text(
                "INSERT INTO result_rows (batch_id, position, key, status, answered_at, cursor)"
                " VALUES (1, 1, 'T-1', 'answered', '2026-01-02 03:04:05', 1)"
            )
        )
        conn.execute(
            sa.text(
                "INSERT INTO model_versions (name, version, state, digest, metrics, created_at)"
                " VALUES ('shop', 1, 'production', 'd', '{}', '2026-01-02 03:04:05')"
            )
        )
    upgrade(empty_engine)
    with reading(empty_engine) as conn:
        row = conn.execute(sa.select(tables.results)).one()
        assert (row.key, row.url, row.runners_up) == ("T-1", None, None)
        version = model_versions.find(conn, "shop")
        assert (str(version), version.canary_share) == ("shop@1", None)


def test_an_upgrade_that_fails_is_rolled_back(empty_engine):
    with transaction(empty_engine) as conn:
        conn.execute(sa.text("CREATE TABLE model_versions (in_the_way INTEGER)"))
    with pytest.raises(Exception, match="model_versions"):
        upgrade(empty_engine)
    assert sa.inspect(empty_engine).get_table_names() == ["model_versions"]
    assert revision(empty_engine) is None


def test_processes_that_upgrade_at_once_do_so_one_after_the_other(empty_database_url, empty_engine):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _UPGRADE_WHEN_TOLD, empty_database_url],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert outputs == [("", "")] * 3
    assert [process.returncode for process in processes] == [0] * 3
    assert revision(empty_engine) == tables.REVISION
