"""The row of a replica, and the health check that reads it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core import console
from core.domain.batch import BatchState, Lane
from core.domain.replica import ReplicaState
from db.clock import DatabaseClock
from db.queries import replicas
from db.session import reading, transaction
from db.tables import batches as batch_table
from tests.factories import stored_batch
from worker.cli import app
from worker.monitoring import health_check
from worker.monitoring.heartbeat import Heartbeat, name_of

HOST = socket.gethostname()
STALL = timedelta(seconds=120)


@pytest.fixture
def clock(engine):
    real = DatabaseClock(engine)

    def clock():
        return real() + clock.ahead

    clock.ahead = timedelta()
    return clock


@pytest.fixture
def new_heartbeat(engine, clock):
    def new_heartbeat(slot=0, failures=lambda: (0, False), lanes=tuple(Lane)):
        return Heartbeat(
            engine,
            clock,
            slot=slot,
            lanes=lanes,
            model_version=lambda: "shop@1",
            failures=failures,
        )

    return new_heartbeat


def rows(engine):
    with reading(engine) as conn:
        return replicas.on_host(conn, HOST)


def test_a_row_shows_the_job_of_the_replica(engine, new_heartbeat, clock):
    heartbeat = new_heartbeat()
    with heartbeat.working_on(7):
        clock.ahead = timedelta(seconds=40)
        heartbeat.progress()
        heartbeat.report()
        (row,) = rows(engine)
    assert (row.job_id, row.state, row.model_version) == (7, ReplicaState.READY, "shop@1")
    assert row.lanes == "interactive,bulk"
    assert row.progress_at - row.started_at >= timedelta(seconds=40)
    heartbeat.report()
    assert rows(engine)[0].job_id is None


def test_the_next_process_of_a_slot_inherits_its_row(engine, new_heartbeat):
    for slot in (0, 1, 1):
        new_heartbeat(slot).report()
    assert [row.name for row in rows(engine)] == [name_of(HOST, os.getppid(), n) for n in (0, 1)]


def test_workers_of_this_host_that_ended_are_forgotten_and_others_kept(engine, new_heartbeat):
    new_heartbeat().report()
    (row,) = rows(engine)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with transaction(engine) as conn:
        replicas.report(conn, replace(row, name=name_of(HOST, ended.pid, 0)))
        replicas.report(conn, replace(row, name=name_of("other", ended.pid, 0), host="other"))
    heartbeat = new_heartbeat(slot=1)
    heartbeat.start()
    heartbeat.stop()
    assert len(rows(engine)) == 2
    with reading(engine) as conn:
        assert len(replicas.on_host(conn, "other")) == 1


def test_rows_of_workers_long_gone_do_not_pile_up(engine, new_heartbeat, clock):
    for slot in range(5):
        new_heartbeat(slot).report()
    clock.ahead = timedelta(hours=2)
    new_heartbeat(9).report()
    assert len(rows(engine)) == 1


def test_a_host_without_a_worker_has_a_fault(engine):
    fault = health_check.find_fault(engine, HOST, STALL)
    assert fault == f"no worker of {HOST} has sent a heartbeat"


def test_jobs_that_wait_in_another_lane_are_no_fault_of_this_worker(engine, new_heartbeat, clock):
    stored_batch(engine, lane=Lane.INTERACTIVE)  # created in 2026, more than an hour ago
    clock.ahead = timedelta(hours=-1)
    bulk = new_heartbeat(lanes=[Lane.BULK])
    clock.ahead = timedelta()
    bulk.report()
    assert health_check.find_fault(engine, HOST, STALL) is None
    clock.ahead = timedelta(hours=-1)
    both = new_heartbeat(slot=1)
    clock.ahead = timedelta()
    both.report()
    assert "has had no job" in health_check.find_fault(engine, HOST, STALL)


def test_questions_of_a_stopped_batch_do_not_count_as_waiting(engine, new_heartbeat, clock):
    batch = stored_batch(engine)
    clock.ahead = timedelta(hours=-1)
    heartbeat = new_heartbeat()
    clock.ahead = timedelta()
    heartbeat.report()
    assert health_check.find_fault(engine, HOST, STALL) is not None
    with transaction(engine) as conn:
        conn.execute(sa.update(batch_table).values(state=BatchState.CANCELLED))
    assert batch.state is not BatchState.CANCELLED
    assert health_check.find_fault(engine, HOST, STALL) is None


@pytest.fixture
def probe(settings, monkeypatch, capfd):
    monkeypatch.setenv("ANSWERMILL_HOME", str(settings.home))

    def probe(database):
        monkeypatch.setenv("ANSWERMILL_DATABASE_URL", database)
        status = console.run(app, ["--health"])
        captured = capfd.readouterr()
        assert captured.err == ""
        return status, captured.out

    return probe


def test_the_health_check_exits_with_0_or_with_1_and_one_line(
    engine, settings, new_heartbeat, probe
):
    assert probe(settings.database) == (1, f"no worker of {HOST} has sent a heartbeat\n")
    new_heartbeat().report()
    assert probe(settings.database) == (0, "healthy\n")
    new_heartbeat(failures=lambda: (5, True)).report()
    status, output = probe(settings.database)
    assert status == 1
    assert output.endswith("claims no jobs: 5 attempts in a row failed\n")
    assert rows(engine)[0].failures == 5


def test_an_unavailable_database_is_reported_in_one_line_too(probe):
    status, output = probe("postgresql://test@127.0.0.1:1/none")
    assert status == 1
    assert output.startswith("database postgresql")
    assert output.count("\n") == 1
