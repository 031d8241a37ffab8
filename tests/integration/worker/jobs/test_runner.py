"""Jobs that one message runs: its own job, then further jobs of its lane."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from functools import partial

import pytest

from core.domain.batch import Lane
from core.domain.job import JobState
from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import job_failures, jobs
from db.session import transaction
from tests.factories import all_results, job_rows, question, questions, queued_ids, stored_batch
from tests.fakes import FakeModel
from tests.waiting import wait_for
from worker.inference.model_watcher import ActiveModels
from worker.inference.protocol import PassBudget
from worker.jobs import answer, claim
from worker.jobs.claim_window import ClaimWindow
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=30)


def echo(at=None):
    """Return a model that calls `at[text]` when it decides a text."""
    return FakeModel(budget=PassBudget(tokens=1000, questions=100), at=at)


@pytest.fixture
def context(engine):
    clock = DatabaseClock(engine)
    leases = LeaseRenewer(engine, clock, LEASE)
    return JobContext(engine, clock, leases, "test/1", LEASE, 3, 100, claim_limit=4)


def runner_of(context, model, *, calm_seconds=0, clock=time.monotonic, **values):
    window = ClaimWindow(
        context.claim_limit, together_seconds=0, calm_seconds=calm_seconds, clock=clock
    )
    attempt = partial(answer.answer_jobs, context, ActiveModels(model))
    return JobRunner(context, attempt, window=window, **values)


def quiet(_done, _size):
    """Ignore the progress."""


def texts(*values):
    return [question(position, text) for position, text in enumerate(values, 1)]


def states(engine, batch):
    return [row.state for row in job_rows(engine, batch)]


def test_one_message_runs_the_whole_lane_and_the_other_messages_are_idle(engine, context):
    batch = stored_batch(engine, 10, job_size=2)
    ids = queued_ids(engine, batch)
    runner = runner_of(context, echo())
    summary = runner.run_message(ids[0], quiet)
    assert (summary["answered"], summary["jobs"]) == (10, 5)
    assert [row.position for row in all_results(engine, batch)] == list(range(1, 11))
    assert all("idle" in runner.run_message(job, quiet) for job in ids)


def test_the_next_job_is_prefetched_while_the_model_computes(engine, context):
    batch = stored_batch(engine, texts("a", "b"), job_size=1, name="t")
    lone = JobContext(**{f: getattr(context, f) for f in context.__slots__} | {"claim_limit": 1})

    def claimed():
        wait_for(lambda: states(engine, batch) == ["running", "running"])

    summary = runner_of(lone, echo({"a": claimed})).run_message(queued_ids(engine, batch)[0], quiet)
    assert summary["answered"] == 2


def test_small_jobs_are_claimed_together_up_to_the_limit_and_answered_in_one_pass(engine, context):
    batch = stored_batch(engine, 6, job_size=1)
    for row in job_rows(engine, batch):
        assert row.last_position == row.first_position
    model = echo()
    batch = stored_batch(engine, texts(*"abcdef"), job_size=1, name="other", lane=Lane.INTERACTIVE)
    runner_of(context, model, lanes=[Lane.INTERACTIVE]).run_message(
        queued_ids(engine, batch)[0], quiet
    )
    assert [sorted(texts) for texts in model.decided] == [list("abcd"), list("ef")]
    assert [row.answer for row in all_results(engine, batch)] == list("abcdef")


def test_poison_among_jobs_claimed_together_fails_only_its_own_job(engine, context):
    batch = stored_batch(engine, texts("a", "poison", "c"), job_size=1)
    summary = runner_of(context, echo()).run_message(queued_ids(engine, batch)[0], quiet)
    assert (summary["answered"], summary["failed_attempt"]) == (2, "ValueError")
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED, JobState.DONE]
    assert [row.failures for row in job_rows(engine, batch)] == [0, 1, 0]


def test_a_job_that_failed_before_runs_alone(engine, context):
    batch = stored_batch(engine, texts("a", "poison", "c"), job_size=1)
    runner = runner_of(context, echo())
    first, failed, _ = queued_ids(engine, batch)
    runner.run_message(first, quiet)
    other = stored_batch(engine, 1, job_size=1, name="other")
    runner.run_message(failed, quiet)
    assert set(states(engine, other)) == {JobState.QUEUED}
    runner.run_message(queued_ids(engine, other)[0], quiet)
    assert [row.failures for row in job_rows(engine, batch)] == [0, 2, 0]


def test_an_interactive_question_goes_before_the_next_bulk_job(engine, context):
    batch = stored_batch(engine, texts("a", "b", "c", "d", "e", "f", "g", "h"), job_size=4)
    model = echo({"a": lambda: None})

    def ask():
        stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)

    model.at["a"] = ask
    runner_of(context, model).run_message(queued_ids(engine, batch)[0], quiet)
    assert [texts[0] for texts in model.decided] == ["a", "urgent", "e"]


def test_before_the_last_bulk_job_of_a_message_interactive_questions_go_first(engine, context):
    batch = stored_batch(engine, texts("a", "e"), job_size=1)
    lone = JobContext(**{f: getattr(context, f) for f in context.__slots__} | {"claim_limit": 1})

    def ask():
        stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)
        time.sleep(0.5)  # the message's time is over, and "e" is prefetched

    model = echo({"a": ask})
    runner_of(lone, model, seconds=0.5).run_message(queued_ids(engine, batch)[0], quiet)
    assert [texts[0] for texts in model.decided] == ["a", "urgent", "e"]


def test_a_worker_of_the_bulk_lane_alone_leaves_interactive_jobs(engine, context):
    interactive = stored_batch(engine, 1, name="ask", lane=Lane.INTERACTIVE)
    batch = stored_batch(engine, 1)
    runner_of(context, echo(), lanes=[Lane.BULK]).run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, interactive) == [JobState.QUEUED]


def test_a_prefetched_job_is_given_back_while_the_last_job_computes(engine, context):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    draining = threading.Event()

    def drain():
        wait_for(lambda: states(engine, batch) == [JobState.RUNNING, JobState.RUNNING])
        draining.set()
        wait_for(lambda: states(engine, batch) == [JobState.RUNNING, JobState.QUEUED])

    runner = runner_of(context, echo({"a": drain}), should_stop_claiming=draining.is_set)
    runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED]
    assert [row.failures for row in job_rows(engine, batch)] == [0, 0]


def test_a_prefetched_job_is_given_back_when_the_task_is_ended(engine, context):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)

    def end():
        wait_for(lambda: states(engine, batch) == [JobState.RUNNING, JobState.RUNNING])
        raise SystemExit

    with pytest.raises(SystemExit):
        runner_of(context, echo({"a": end})).run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.RUNNING, JobState.QUEUED]


def test_a_lost_lease_among_jobs_claimed_together_loses_only_its_own_job(engine, context):
    batch = stored_batch(engine, texts(*"abc"), job_size=1)
    runner = runner_of(context, echo())

    def lose():
        with transaction(engine) as conn:
            late = context.clock() + 2 * LEASE
            lost = next(x for x in jobs.expired_leases(conn, late, 9) if x.first_position == 2)
            job_failures.fail(conn, lost, error="lost touch", attempts=3, now=late)

    runner = runner_of(context, echo({"a": lose}))
    summary = runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert summary["answered"] == 2
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED, JobState.DONE]
    assert [row.position for row in all_results(engine, batch)] == [1, 3]


def test_a_database_unavailable_to_the_prefetcher_does_not_stop_the_current_job(
    engine, context, monkeypatch
):
    batch = stored_batch(engine, questions(8), job_size=4)

    def unavailable(*_):
        raise DatabaseUnavailable("url", "gone")

    monkeypatch.setattr(claim, "claim_next_jobs", unavailable)
    runner = runner_of(context, echo(), lanes=[Lane.BULK])
    assert runner.run_message(queued_ids(engine, batch)[0], quiet)["answered"] == 4
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED]


def test_no_lease_is_renewed_after_all_jobs_are_stored(engine, context):
    batch = stored_batch(engine, questions(12), job_size=4)
    runner_of(context, echo()).run_message(queued_ids(engine, batch)[0], quiet)
    assert context.leases.jobs == frozenset()


def test_a_message_whose_job_already_ran_runs_the_next_one_instead(engine, context):
    batch = stored_batch(engine, 4)
    done = queued_ids(engine, batch)[0]
    runner = runner_of(context, echo(), lanes=[Lane.BULK])
    runner.run_message(done, quiet)
    later = stored_batch(engine, 4, name="later")
    other = stored_batch(engine, 4, name="other", lane=Lane.INTERACTIVE)
    assert runner.run_message(done, quiet, Lane.BULK)["answered"] == 4
    assert set(states(engine, later)) == {JobState.DONE}
    assert "idle" in runner.run_message(done, quiet, Lane.BULK)
    assert set(states(engine, other)) == {JobState.QUEUED}


def test_no_lease_is_renewed_after_an_attempt_raises(context, engine):
    batch = stored_batch(engine, texts("a", "b", "c"), job_size=1)

    def raising(*_):
        raise RuntimeError("our bug")

    with pytest.raises(RuntimeError):
        JobRunner(context, raising).run_message(queued_ids(engine, batch)[0], quiet)
    assert not context.leases.jobs


def test_fast_jobs_are_claimed_together_once_the_speed_is_known(engine, context):
    batch = stored_batch(engine, texts(*"abcdefghijkl"), job_size=2)
    model = echo()
    runner = runner_of(context, model, calm_seconds=30)
    runner.run_message(queued_ids(engine, batch)[0], quiet)
    # The second job was prefetched before the model's speed was known.
    assert [len(texts) for texts in model.decided] == [4, 4, 4]
    later = stored_batch(engine, texts(*"abcdefghijkl"), job_size=2, name="later")
    runner.run_message(queued_ids(engine, later)[0], quiet)
    assert [len(texts) for texts in model.decided[3:]] == [12]
    assert [row.answer for row in all_results(engine, later)] == list("abcdefghijkl")


def test_after_an_interactive_question_fewer_jobs_are_claimed_together(engine, context):
    model, now = echo(), [1_000.0]
    runner = runner_of(context, model, calm_seconds=30, clock=lambda: now[0])

    def passes(name):
        batch = stored_batch(engine, texts(*"abcdefgh"), job_size=2, name=name)
        model.decided.clear()
        runner.run_message(queued_ids(engine, batch)[0], quiet)
        return [len(texts) for texts in model.decided]

    assert passes("the speed is unknown") == [4, 4]
    assert passes("calm") == [8]
    ask = stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)
    runner.run_message(queued_ids(engine, ask)[0], quiet)
    assert passes("soon after") == passes("still") == [4, 4]
    now[0] += 61
    passes("the first claim uses the old limit")
    assert passes("calm again") == [8]


def test_after_a_failed_attempt_the_claim_limit_is_the_initial_one(engine, context):
    model = echo()
    runner = runner_of(context, model, calm_seconds=30)
    runner.run_message(queued_ids(engine, stored_batch(engine, texts(*"abcd")))[0], quiet)
    runner.run_message(
        queued_ids(engine, stored_batch(engine, texts("poison"), name="p"))[0], quiet
    )
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=2, name="later")
    model.decided.clear()
    runner.run_message(queued_ids(engine, batch)[0], quiet)
    assert len(model.decided[0]) == 4
