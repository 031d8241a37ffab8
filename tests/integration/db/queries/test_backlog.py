from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.batch import Lane
from core.domain.result import Status
from db.queries import backlog
from db.session import reading
from tests.factories import (
    claimed,
    fail,
    finish,
    later,
    partly_final_batch,
    queued_ids,
    result,
    running_job,
    stored_batch,
)


def _waiting(engine, *lanes):
    with reading(engine) as conn:
        return backlog.waiting(conn, lanes)


def _drained(engine, *lanes, since=-1):
    with reading(engine) as conn:
        return backlog.drained(conn, lanes, later(since))


def test_what_no_worker_has_begun_is_counted_by_lane(engine):
    assert _waiting(engine, *Lane) == {Lane.BULK: 0, Lane.INTERACTIVE: 0}
    stored_batch(engine, 5, job_size=2)
    stored_batch(engine, 1, name="one", lane=Lane.INTERACTIVE)
    assert _waiting(engine, *Lane) == {Lane.BULK: 5, Lane.INTERACTIVE: 1}
    assert _waiting(engine, Lane.INTERACTIVE) == {Lane.INTERACTIVE: 1}


def test_what_runs_or_has_ended_does_not_wait(engine):
    batch = partly_final_batch(engine, 7)
    claimed(engine, queued_ids(engine, batch)[0])
    assert _waiting(engine, Lane.BULK) == {Lane.BULK: 1}


def test_what_failed_and_runs_again_waits(engine):
    batch = stored_batch(engine, 2, job_size=2)
    fail(engine, running_job(engine, batch))
    assert _waiting(engine, Lane.BULK) == {Lane.BULK: 2}


@pytest.mark.parametrize("status", [Status.ANSWERED, Status.HANDED_OFF, Status.FAILED])
def test_what_a_worker_ends_drains(status, engine):
    batch = stored_batch(engine, 4, job_size=2)
    job = running_job(engine, batch)
    finish(engine, job, [result(1, status), result(2)], now=later(10))
    assert _drained(engine, Lane.BULK) == 2
    assert _drained(engine, Lane.INTERACTIVE) == 0
    assert _drained(engine, *Lane) == 2
    assert _drained(engine, Lane.BULK, since=10) == 0


def test_the_drain_is_looked_up_by_when_jobs_ended(engine, database_kind):
    explain = "EXPLAIN QUERY PLAN " if database_kind == "sqlite" else "EXPLAIN "
    plan_lines = []
    stored_batch(engine, 4, job_size=1)

    def tell(conn, _cursor, statement, parameters, *_):
        if statement.startswith("SELECT sum"):
            plan = conn.connection.cursor()
            if database_kind == "postgresql":
                plan.execute("SET LOCAL enable_seqscan = off")  # the table is small
            plan.execute(explain + statement, parameters)
            plan_lines.extend(str(row) for row in plan.fetchall())

    sa.event.listen(engine, "before_cursor_execute", tell)
    _drained(engine, *Lane, since=-30)
    assert "ix_jobs_finished" in " ".join(plan_lines)
