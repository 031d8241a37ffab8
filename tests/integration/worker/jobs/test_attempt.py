"""Updates of heartbeat and breaker by every attempt, of prefetched jobs, too."""

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
from tests.integration.worker.jobs.test_runner import LEASE, echo, quiet, states, texts
from worker.inference.model_watcher import ActiveModels
from worker.jobs.attempt import AttemptRunner
from worker.jobs.claim_window import ClaimWindow
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.monitoring.heartbeat import Heartbeat
from worker.recovery.circuit_breaker import CircuitBreaker
from worker.recovery.leases import LeaseRenewer


@pytest.fixture
def replica(engine):
    clock = DatabaseClock(engine)
    leases = LeaseRenewer(engine, clock, LEASE)
    context = JobContext(engine, clock, leases, "test/1", LEASE, 3, 100, claim_limit=4)

    def replica(model, failures=3):
        @contextmanager
        def locked():
            yield ActiveModels(model)

        breaker = CircuitBreaker(failures, 60.0, replicas=1)
        heartbeat = Heartbeat(
            engine, clock, slot=0, lanes=list(Lane), model_version=lambda: model.version
        )
        models = SimpleNamespace(locked=locked)
        attempts = AttemptRunner(context, models, heartbeat, breaker, slot=0)
        runner = JobRunner(
            context,
            attempts.run,
            lanes=[Lane.BULK],
            window=ClaimWindow(context.claim_limit, together_seconds=0),
            should_stop_claiming=lambda: breaker.state()[1],
        )
        return SimpleNamespace(runner=runner, breaker=breaker, heartbeat=heartbeat)

    return replica


def raising():
    raise ValueError("broken")


def test_every_failed_attempt_is_counted_and_an_open_breaker_stops_claims(engine, replica):
    batch = stored_batch(engine, texts(*"abcd" * 5), job_size=4)
    process = replica(echo({"a": raising}), failures=3)
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert process.breaker.state() == (3, True)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 1, 1, 0, 0]
    assert set(states(engine, batch)) == {JobState.QUEUED}


def test_a_prefetched_job_that_is_answered_closes_the_breaker(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    process = replica(echo({"a": raising}))
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.QUEUED, JobState.DONE]
    assert process.breaker.state() == (0, False)


def test_while_the_breaker_is_open_only_one_job_loses_an_attempt(engine, replica):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    process = replica(echo(dict.fromkeys("abcd", raising)), failures=1)
    process.breaker.failed()
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert [row.failures for row in job_rows(engine, batch)] == [1, 0, 0, 0]


def test_small_jobs_that_fail_together_count_as_one_failed_attempt(engine, replica):
    batch = stored_batch(engine, texts(*"abcd"), job_size=1)
    process = replica(echo(dict.fromkeys("abcd", raising)), failures=9)
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert process.breaker.state() == (1, False)


def test_a_replicas_row_names_a_prefetched_job_while_it_runs(engine, replica):
    batch = stored_batch(engine, questions(12), job_size=4)
    job_ids = []
    model = echo()
    process = replica(model)

    def look():
        process.heartbeat.report()
        with reading(engine) as conn:
            job_ids.append(replicas.on_host(conn, socket.gethostname())[0].job_id)

    model.at = {item.text: look for item in questions(12)[::4]}
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert job_ids == [row.id for row in job_rows(engine, batch)]


def test_a_process_that_dies_during_a_prefetched_job_leaves_its_mark(engine, replica):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    marks = []
    model = echo({"e": lambda: marks.append(list(process.breaker._working))})
    process = replica(model)
    process.runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert marks == [[1]]
    assert list(process.breaker._working) == [0]
