"""A replica's row, and the probe that reads it."""

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
def vitals(engine, clock):
    def vitals(slot=0, failures=lambda: (0, False), lanes=tuple(Lane)):
        return Heartbeat(
            engine,
            clock,
            slot=slot,
            lanes=lanes,
            model_version=lambda: "shop@1",
            failures=failures,
        )

    return vitals


def rows(engine):
    with reading(engine) as conn:
        return replicas.on_host(conn, HOST)


def test_a_row_tells_what_the_replica_is_at(engine, vitals, clock):
    one = vitals()
    with one.working_on(7):
        clock.ahead = timedelta(seconds=40)
        one.progress()
        one.report()
        (row,) = rows(engine)
    assert (row.job_id, row.state, row.model_version) == (7, ReplicaState.READY, "shop@1")
    assert row.lanes == "interactive,bulk"
    assert row.progress_at - row.started_at >= timedelta(seconds=40)
    one.report()
    assert rows(engine)[0].job_id is None


def test_the_next_process_of_a_slot_takes_its_row_over(engine, vitals):
    for slot in (0, 1, 1):
        vitals(slot).report()
    assert [row.name for row in rows(engine)] == [name_of(HOST, os.getppid(), n) for n in (0, 1)]


def test_workers_of_this_host_that_ended_are_forgotten_and_others_kept(engine, vitals):
    vitals().report()
    (row,) = rows(engine)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with transaction(engine) as conn:
        replicas.report(conn, replace(row, name=name_of(HOST, ended.pid, 0)))
        replicas.report(conn, replace(row, name=name_of("other", ended.pid, 0), host="other"))
    one = vitals(slot=1)
    one.start()
    one.stop()
    assert len(rows(engine)) == 2
    with reading(engine) as conn:
        assert len(replicas.on_host(conn, "other")) == 1


def test_rows_of_workers_long_gone_do_not_pile_up(engine, vitals, clock):
    for slot in range(5):
        vitals(slot).report()
    clock.ahead = timedelta(hours=2)
    vitals(9).report()
    assert len(rows(engine)) == 1


def test_no_worker_is_no_health(engine):
    assert health_check.find_fault(engine, HOST, STALL) == f"no worker of {HOST} has been heard of"


def test_work_that_waits_for_another_lane_is_no_fault_of_this_worker(engine, vitals, clock):
    stored_batch(engine, lane=Lane.INTERACTIVE)  # in 2026, at the latest an hour ago
    clock.ahead = timedelta(hours=-1)
    bulk = vitals(lanes=[Lane.BULK])
    clock.ahead = timedelta()
    bulk.report()
    assert health_check.find_fault(engine, HOST, STALL) is None
    clock.ahead = timedelta(hours=-1)
    both = vitals(slot=1)
    clock.ahead = timedelta()
    both.report()
    assert "has had no job" in health_check.find_fault(engine, HOST, STALL)


def test_what_waits_in_a_batch_that_was_stopped_is_no_work(engine, vitals, clock):
    batch = stored_batch(engine)
    clock.ahead = timedelta(hours=-1)
    one = vitals()
    clock.ahead = timedelta()
    one.report()
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


def test_the_probe_exits_with_0_or_with_1_and_one_line(engine, settings, vitals, probe):
    assert probe(settings.database) == (1, f"no worker of {HOST} has been heard of\n")
    vitals().report()
    assert probe(settings.database) == (0, "healthy\n")
    vitals(failures=lambda: (5, True)).report()
    status, told = probe(settings.database)
    assert status == 1
    assert told.endswith("takes no work: 5 attempts in a row failed\n")
    assert rows(engine)[0].failures == 5


def test_a_database_that_is_away_is_one_line_too(probe):
    status, told = probe("postgresql://nobody@127.0.0.1:1/none")
    assert status == 1
    assert told.startswith("database postgresql")
    assert told.count("\n") == 1
