"""What vitals and breaker hear of each attempt, of those at jobs taken along, too."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from core.domain.batch import Lane
from core.domain.job import JobState
from db.clock import DatabaseClock
from db.queries import replicas
from db.session import reading
from tests.factories import job_rows, questions, queued_ids, stored_batch
from tests.integration.worker.jobs.test_runner import LEASE, Echo, quiet, states, texts
from worker.inference.model_watcher import ActiveModels
from worker.jobs.attempt import AttemptRunner
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.monitoring.heartbeat import Heartbeat
from worker.recovery.circuit_breaker import CircuitBreaker
from worker.recovery.leases import LeaseRenewer


@pytest.fixture
def replica(engine):
    clock = DatabaseClock(engine)
    desk = JobContext(
        engine, clock, LeaseRenewer(engine, clock, LEASE), "test/1", LEASE, 3, 100, claim_limit=4
    )

    def replica(model, failures=3):
        @contextmanager
        def at_work():
            yield ActiveModels(model)

        breaker = CircuitBreaker(failures, 60.0, replicas=1)
        vitals = Heartbeat(
            engine, clock, slot=0, lanes=list(Lane), model_version=lambda: model.version
        )
        attempts = AttemptRunner(desk, SimpleNamespace(locked=at_work), vitals, breaker, slot=0)
        line = JobRunner(
            desk,
            attempts.run,
            lanes=[Lane.BULK],
            together_seconds=0,
            enough=lambda: breaker.state()[1],
        )
        return SimpleNamespace(runner=line, breaker=breaker, vitals=vitals)

    return replica


def raising():
    raise ValueError("broken")


def test_every_attempt_that_fails_is_counted_and_once_the_breaker_opens_nothing_is_taken_along(
    engine, replica
):
    batch = stored_batch(engine, texts(*"abcd" * 5), job_size=4)
    here = replica(Echo({"a": raising}), failures=3)
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert here.breaker.state() == (3, True)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 1, 1, 0, 0]
    assert set(states(engine, batch)) == {JobState.QUEUED}


def test_a_job_taken_along_that_is_answered_closes_the_breaker(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    here = replica(Echo({"a": raising}))
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.QUEUED, JobState.DONE]
    assert here.breaker.state() == (0, False)


def test_the_one_try_while_the_breaker_is_open_costs_no_small_job_beside_it_an_attempt(
    engine, replica
):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    here = replica(Echo(dict.fromkeys("abcd", raising)), failures=1)
    here.breaker.failed()
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 0, 0, 0]


def test_small_jobs_that_fail_together_count_as_one_failed_attempt(engine, replica):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    here = replica(Echo(dict.fromkeys("abcd", raising)), failures=9)
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
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
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert seen == [row.id for row in job_rows(engine, batch)]


def test_a_process_that_dies_at_a_job_taken_along_leaves_its_mark(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    marks = []
    model = Echo({"e": lambda: marks.append(list(here.breaker._at_work))})
    here = replica(model)
    here.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert marks == [[1]]
    assert list(here.breaker._at_work) == [0]
