"""What vitals and breaker hear of each attempt, of those at jobs taken along, too."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from tests.integration.worker.jobs.test_runner import LEASE, Echo, quiet, states, texts

from core.domain.batch import Lane
from core.domain.job import JobState
from db.clock import DatabaseClock
from db.queries import replicas
from db.session import reading
from tests.factories import job_rows, questions, queued_ids, stored_batch
from worker.inference.model_watcher import Held
from worker.jobs.attempt import Attempts
from worker.jobs.context import JobContext
from worker.jobs.runner import Line
from worker.monitoring.heartbeat import Vitals
from worker.recovery.circuit_breaker import Breaker
from worker.recovery.leases import LeaseKeeper


@pytest.fixture
def replica(engine):
    clock = DatabaseClock(engine)
    desk = JobContext(
        engine, clock, LeaseKeeper(engine, clock, LEASE), "test/1", LEASE, 3, 100, window=4
    )

    def replica(model, failures=3):
        @contextmanager
        def at_work():
            yield Held(model)

        breaker = Breaker(failures, 60.0, replicas=1)
        vitals = Vitals(
            engine, clock, slot=0, lanes=list(Lane), model_version=lambda: model.version
        )
        attempts = Attempts(desk, SimpleNamespace(at_work=at_work), vitals, breaker, slot=0)
        line = Line(
            desk,
            attempts.answer,
            lanes=[Lane.BULK],
            together_seconds=0,
            enough=lambda: breaker.state()[1],
        )
        return SimpleNamespace(line=line, breaker=breaker, vitals=vitals)

    return replica


def raising():
    raise ValueError("broken")


def test_every_attempt_that_fails_is_counted_and_once_the_breaker_opens_nothing_is_taken_along(
    engine, replica
):
    batch = stored_batch(engine, texts(*"abcd" * 5), job_size=4)
    here = replica(Echo({"a": raising}), failures=3)
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert here.breaker.state() == (3, True)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 1, 1, 0, 0]
    assert set(states(engine, batch)) == {JobState.QUEUED}


def test_a_job_taken_along_that_is_answered_closes_the_breaker(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    here = replica(Echo({"a": raising}))
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.QUEUED, JobState.DONE]
    assert here.breaker.state() == (0, False)


def test_the_one_try_while_the_breaker_is_open_costs_no_small_job_beside_it_an_attempt(
    engine, replica
):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    here = replica(Echo(dict.fromkeys("abcd", raising)), failures=1)
    here.breaker.failed()
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 0, 0, 0]


def test_small_jobs_that_fail_together_count_as_one_failed_attempt(engine, replica):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    here = replica(Echo(dict.fromkeys("abcd", raising)), failures=9)
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert here.breaker.state() == (1, False)


def test_a_replicas_row_names_the_job_taken_along_while_it_is_at_work(engine, replica):
    batch = stored_batch(engine, questions(12), job_size=4)
    seen = []
    model = Echo()
    here = replica(model)

    def look():
        here.vitals.report()
        with reading(engine) as conn:
            seen.append(replicas.on_host(conn, socket.gethostname())[0].job_id)

    model.at = {asked.text: look for asked in questions(12)[::4]}
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert seen == [row.id for row in job_rows(engine, batch)]


def test_a_process_that_dies_at_a_job_taken_along_leaves_its_mark(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    marks = []
    model = Echo({"e": lambda: marks.append(list(here.breaker._at_work))})
    here = replica(model)
    here.line.answer(queued_ids(engine, batch)[0], quiet)
    assert marks == [[1]]
    assert list(here.breaker._at_work) == [0]
