"""A PostgreSQL role that owns one database and has no other right, as in managed services."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from psycopg import sql

from core.settings.settings import Settings
from db import dialect
from db.engine import open_engine
from db.migrations.run import upgrade
from db.queries import claims, jobs, results
from db.session import reading, transaction
from tests.factories import LEASE, NOW, queued_ids, result, stored_batch

_ROLE, _DATABASE = "plain", "plain"


@pytest.fixture
def plain_url(postgres_server):
    """Return the URL of a new database, with a role that has no other right."""
    run = postgres_server.admin.execute
    role, database = sql.Identifier(_ROLE), sql.Identifier(_DATABASE)
    run(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(role))
    run(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    yield postgres_server.url(_DATABASE).replace("//postgres@", f"//{_ROLE}@")
    postgres_server.drop(_DATABASE)
    run(sql.SQL("DROP ROLE {}").format(role))


def test_it_can_make_the_tables_and_take_a_batch_from_submission_to_results(plain_url):
    engine = open_engine(Settings(database_url=plain_url, broker_url="redis://unused"))
    try:
        upgrade(engine)
        with transaction(engine) as conn:
            assert not conn.scalar(sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = user"))
            assert dialect.database_identity(conn)
        batch = stored_batch(engine, 3, job_size=3)
        (queued,) = queued_ids(engine, batch)
        with transaction(engine) as conn:
            job = claims.claim_job(conn, queued, owner="w", lease=LEASE, now=NOW)
            lost = jobs.finish_all(
                conn, [(job, [result(position) for position in (1, 2, 3)])], now=NOW
            )
        assert not lost
        with reading(engine) as conn:
            assert results.of_question(conn, batch.id, 3).status == "answered"
    finally:
        engine.dispose()
