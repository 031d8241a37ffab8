"""What one message sets off beside its own job."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import numpy as np
import pytest

from core.domain.batch import Lane
from core.domain.job import JobState
from core.domain.result import Answer, Status
from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import job_failures, jobs
from db.session import transaction
from tests.factories import all_results, job_rows, question, questions, queued_ids, stored_batch
from worker.inference.model_watcher import ActiveModels
from worker.inference.protocol import PassBudget
from worker.jobs import answer, claim
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=30)


@dataclass
class Echo:
    """Answers with the text; does what `at` says when it comes to a text; raises at `poison`."""

    at: dict = field(default_factory=dict)
    version: str = "echo@1"
    budget: PassBudget = field(default_factory=lambda: PassBudget(tokens=1000, questions=100))
    passes: list = field(default_factory=list)

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[1]] * len(texts)

    def encode(self, tokens):
        return np.zeros((len(tokens), 1), dtype=np.float32)

    def decide(self, texts, _embeddings):
        self.passes.append(list(texts))
        for text in texts:
            self.at.get(text, lambda: None)()
        if "poison" in texts:
            raise ValueError("poison")
        return [Answer(Status.ANSWERED, answer=text) for text in texts]


@pytest.fixture
def desk(engine):
    clock = DatabaseClock(engine)
    keeper = LeaseRenewer(engine, clock, LEASE)
    return JobContext(engine, clock, keeper, "test/1", LEASE, 3, 100, claim_limit=4)


def line(desk, model, **values):
    values = {"together_seconds": 0, "calm_seconds": 0} | values
    return JobRunner(desk, partial(answer.answer_jobs, desk, ActiveModels(model)), **values)


def quiet(_done, _size):
    """Progress that nobody hears."""


def texts(*asked):
    return [question(n, text) for n, text in enumerate(asked, 1)]


def states(engine, batch):
    return [row.state for row in job_rows(engine, batch)]


def until(condition):
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_one_message_takes_the_whole_lane_along_and_the_rest_find_nothing(engine, desk):
    batch = stored_batch(engine, 10, job_size=2)
    ids = queued_ids(engine, batch)
    here = line(desk, Echo())
    told = here.run_message(ids[0], quiet)
    assert (told["answered"], told["jobs"]) == (10, 5)
    assert [row.position for row in all_results(engine, batch)] == list(range(1, 11))
    assert all("idle" in here.run_message(job, quiet) for job in ids)


def test_a_job_that_is_taken_along_is_claimed_while_the_one_before_computes(engine, desk):
    batch = stored_batch(engine, texts("a", "b"), job_size=1, name="t")
    lone = JobContext(**{f: getattr(desk, f) for f in desk.__slots__} | {"claim_limit": 1})

    def claimed():
        until(lambda: states(engine, batch) == ["running", "running"])

    told = line(lone, Echo({"a": claimed})).run_message(queued_ids(engine, batch)[0], quiet)
    assert told["answered"] == 2


def test_small_jobs_are_topped_up_to_the_window_and_answered_in_one_pass(engine, desk):
    batch = stored_batch(engine, 6, job_size=1)
    for row in job_rows(engine, batch):
        assert row.last_position == row.first_position
    model = Echo()
    asked = texts(*"abcdef")
    batch = stored_batch(engine, asked, job_size=1, name="other", lane=Lane.INTERACTIVE)
    line(desk, model, lanes=[Lane.INTERACTIVE]).run_message(queued_ids(engine, batch)[0], quiet)
    assert [sorted(one) for one in model.passes] == [list("abcd"), list("ef")]
    assert [row.answer for row in all_results(engine, batch)] == list("abcdef")


def test_poison_among_topped_up_jobs_fails_its_own_job_alone(engine, desk):
    batch = stored_batch(engine, texts("a", "poison", "c"), job_size=1)
    told = line(desk, Echo()).run_message(queued_ids(engine, batch)[0], quiet)
    assert (told["answered"], told["failed_attempt"]) == (2, "ValueError")
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED, JobState.DONE]
    assert [row.failures for row in job_rows(engine, batch)] == [0, 1, 0]


def test_a_job_that_failed_travels_alone(engine, desk):
    batch = stored_batch(engine, texts("a", "poison", "c"), job_size=1)
    here = line(desk, Echo())
    first, failed, _ = queued_ids(engine, batch)
    here.run_message(first, quiet)
    other = stored_batch(engine, 1, job_size=1, name="other")
    here.run_message(failed, quiet)
    assert set(states(engine, other)) == {JobState.QUEUED}
    here.run_message(queued_ids(engine, other)[0], quiet)
    assert [row.failures for row in job_rows(engine, batch)] == [0, 2, 0]


def test_an_interactive_question_goes_before_the_next_bulk_job(engine, desk):
    batch = stored_batch(engine, texts("a", "b", "c", "d", "e", "f", "g", "h"), job_size=4)
    model = Echo({"a": lambda: None})

    def ask():
        stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)

    model.at["a"] = ask
    line(desk, model).run_message(queued_ids(engine, batch)[0], quiet)
    assert [one[0] for one in model.passes] == ["a", "urgent", "e"]


def test_before_the_last_bulk_job_of_a_message_interactive_questions_go_first(engine, desk):
    batch = stored_batch(engine, texts("a", "e"), job_size=1)
    lone = JobContext(**{f: getattr(desk, f) for f in desk.__slots__} | {"claim_limit": 1})

    def ask():
        stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)
        time.sleep(0.5)  # the message's time is up, and "e" was claimed ahead

    model = Echo({"a": ask})
    line(lone, model, seconds=0.5).run_message(queued_ids(engine, batch)[0], quiet)
    assert [one[0] for one in model.passes] == ["a", "urgent", "e"]


def test_a_worker_of_the_bulk_lane_alone_leaves_interactive_jobs(engine, desk):
    asked = stored_batch(engine, 1, name="ask", lane=Lane.INTERACTIVE)
    batch = stored_batch(engine, 1)
    line(desk, Echo(), lanes=[Lane.BULK]).run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, asked) == [JobState.QUEUED]


def test_what_was_claimed_ahead_is_given_back_while_the_last_job_computes(engine, desk):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)
    draining = threading.Event()

    def drain():
        until(lambda: states(engine, batch) == [JobState.RUNNING, JobState.RUNNING])
        draining.set()
        until(lambda: states(engine, batch) == [JobState.RUNNING, JobState.QUEUED])

    here = line(desk, Echo({"a": drain}), enough=draining.is_set)
    here.run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED]
    assert [row.failures for row in job_rows(engine, batch)] == [0, 0]


def test_what_was_claimed_ahead_is_given_back_when_the_task_is_ended(engine, desk):
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=4)

    def end():
        until(lambda: states(engine, batch) == [JobState.RUNNING, JobState.RUNNING])
        raise SystemExit

    with pytest.raises(SystemExit):
        line(desk, Echo({"a": end})).run_message(queued_ids(engine, batch)[0], quiet)
    assert states(engine, batch) == [JobState.RUNNING, JobState.QUEUED]


def test_a_lease_that_is_lost_among_topped_up_jobs_loses_that_job_alone(engine, desk):
    batch = stored_batch(engine, texts(*"abc"), job_size=1)
    here = line(desk, Echo())

    def lose():
        with transaction(engine) as conn:
            late = desk.clock() + 2 * LEASE
            lost = next(x for x in jobs.expired_leases(conn, late, 9) if x.first_position == 2)
            job_failures.fail(conn, lost, error="lost touch", attempts=3, now=late)

    here = line(desk, Echo({"a": lose}))
    told = here.run_message(queued_ids(engine, batch)[0], quiet)
    assert told["answered"] == 2
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED, JobState.DONE]
    assert [row.position for row in all_results(engine, batch)] == [1, 3]


def test_a_database_that_is_away_for_what_comes_next_does_not_stop_this_job(
    engine, desk, monkeypatch
):
    batch = stored_batch(engine, questions(8), job_size=4)

    def away(*_):
        raise DatabaseUnavailable("url", "gone")

    monkeypatch.setattr(claim, "claim_next_jobs", away)
    here = line(desk, Echo(), lanes=[Lane.BULK])
    assert here.run_message(queued_ids(engine, batch)[0], quiet)["answered"] == 4
    assert states(engine, batch) == [JobState.DONE, JobState.QUEUED]


def test_no_lease_is_renewed_any_more_once_all_is_stored(engine, desk):
    batch = stored_batch(engine, questions(12), job_size=4)
    line(desk, Echo()).run_message(queued_ids(engine, batch)[0], quiet)
    assert desk.leases.jobs == frozenset()


def test_a_message_whose_job_was_taken_along_takes_the_next_one_instead(engine, desk):
    batch = stored_batch(engine, 4)
    done = queued_ids(engine, batch)[0]
    here = line(desk, Echo(), lanes=[Lane.BULK])
    here.run_message(done, quiet)
    later = stored_batch(engine, 4, name="later")
    other = stored_batch(engine, 4, name="other", lane=Lane.INTERACTIVE)
    assert here.run_message(done, quiet, Lane.BULK)["answered"] == 4
    assert set(states(engine, later)) == {JobState.DONE}
    assert "idle" in here.run_message(done, quiet, Lane.BULK)
    assert set(states(engine, other)) == {JobState.QUEUED}


def test_no_job_stays_held_when_the_attempt_raises(desk, engine):
    batch = stored_batch(engine, texts("a", "b", "c"), job_size=1)

    def raising(*_):
        raise RuntimeError("our bug")

    with pytest.raises(RuntimeError):
        JobRunner(desk, raising).run_message(queued_ids(engine, batch)[0], quiet)
    assert not desk.leases.jobs


def test_jobs_that_the_model_answers_at_once_are_claimed_together_once_that_is_known(engine, desk):
    batch = stored_batch(engine, texts(*"abcdefghijkl"), job_size=2)
    model = Echo()
    here = line(desk, model, calm_seconds=30)
    here.run_message(queued_ids(engine, batch)[0], quiet)
    # The second was claimed while the first computed, when its speed was not known.
    assert [len(one) for one in model.passes] == [4, 4, 4]
    later = stored_batch(engine, texts(*"abcdefghijkl"), job_size=2, name="later")
    here.run_message(queued_ids(engine, later)[0], quiet)
    assert [len(one) for one in model.passes[3:]] == [12]
    assert [row.answer for row in all_results(engine, later)] == list("abcdefghijkl")


def test_once_an_interactive_question_came_jobs_are_claimed_together_no_longer(
    engine, desk, monkeypatch
):
    model, now = Echo(), [1_000.0]
    here = line(desk, model, calm_seconds=30)
    monkeypatch.setattr("worker.jobs.runner.time.monotonic", lambda: now[0])

    def passes(name):
        batch = stored_batch(engine, texts(*"abcdefgh"), job_size=2, name=name)
        model.passes.clear()
        here.run_message(queued_ids(engine, batch)[0], quiet)
        return [len(one) for one in model.passes]

    assert passes("how fast the model is isn't known") == [4, 4]
    assert passes("calm") == [8]
    ask = stored_batch(engine, texts("urgent"), name="ask", lane=Lane.INTERACTIVE)
    here.run_message(queued_ids(engine, ask)[0], quiet)
    assert passes("soon after") == passes("still") == [4, 4]
    now[0] += 61
    passes("the first one goes by what was known before")
    assert passes("calm again") == [8]


def test_after_a_failed_attempt_as_few_jobs_are_claimed_together_as_at_first(engine, desk):
    model = Echo()
    here = line(desk, model, calm_seconds=30)
    here.run_message(queued_ids(engine, stored_batch(engine, texts(*"abcd")))[0], quiet)
    here.run_message(queued_ids(engine, stored_batch(engine, texts("poison"), name="p"))[0], quiet)
    batch = stored_batch(engine, texts(*"abcdefgh"), job_size=2, name="later")
    model.passes.clear()
    here.run_message(queued_ids(engine, batch)[0], quiet)
    assert len(model.passes[0]) == 4
