"""A job from its claim to its results, with a short fake model."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane, Question
from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import batches, job_failures, jobs
from db.session import reading, transaction
from db.tables import jobs as job_table
from db.tables import results as visible
from tests.factories import queued_ids, stored_batch
from tests.fakes import FakeModel
from worker.inference.model_watcher import ActiveModels
from worker.jobs import answer, store
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=30)


@pytest.fixture
def context(engine):
    clock = DatabaseClock(engine)
    return JobContext(
        engine=engine,
        clock=clock,
        leases=LeaseRenewer(engine, clock, LEASE),
        owner="test/1",
        lease=LEASE,
        attempts=3,
        question_chars=100,
    )


def submit(context, texts, *, deadline=None, lane=Lane.BULK):
    questions = [Question(n, f"key-{n}", text) for n, text in enumerate(texts, start=1)]
    batch = stored_batch(
        context.engine, questions, job_size=1000, now=context.clock(), deadline=deadline, lane=lane
    )
    return batch, queued_ids(context.engine, batch)[0]


def stored(engine, batch):
    with reading(engine) as conn:
        rows = conn.execute(
            sa.select(visible).where(visible.c.batch_id == batch.id).order_by(visible.c.position)
        )
        return list(rows)


def answer_job(context, model, job, progress):
    attempt = partial(answer.answer_jobs, context, ActiveModels(model))
    return JobRunner(context, attempt).run_message(job, progress)


def quiet(_done, _size):
    """Ignore the progress."""


def test_every_question_gets_its_own_answer_and_the_batch_is_done(context):
    texts = [f"{'x' * (n % 17)}{n}" for n in range(50)]
    batch, job = submit(context, texts)

    summary = answer_job(context, FakeModel(), job, quiet)

    rows = stored(context.engine, batch)
    assert [row.answer for row in rows] == texts
    assert [row.key for row in rows] == [f"key-{n}" for n in range(1, 51)]
    assert {row.model_version for row in rows} == {"echo@1"}
    assert summary["answered"] == 50
    with reading(context.engine) as conn:
        assert batches.find(conn, str(batch.id)).state is BatchState.DONE


def test_a_message_delivered_five_times_changes_nothing(context):
    batch, job = submit(context, ["a", "b"])
    summaries = [answer_job(context, FakeModel(), job, quiet) for _ in range(5)]
    assert len(stored(context.engine, batch)) == 2
    assert all("idle" in summary for summary in summaries[1:])


def test_equal_questions_are_computed_once(context):
    _, job = submit(context, ["same", "same", "other", "same"])
    model = FakeModel()
    answer_job(context, model, job, quiet)
    assert sum(model.passes) == 2


def test_blank_and_very_long_questions_never_reach_the_model(context):
    batch, job = submit(context, ["  \t", "x" * 101, "fine"])
    model = FakeModel()
    answer_job(context, model, job, quiet)
    blank, long, fine = stored(context.engine, batch)
    assert (blank.status, blank.error) == ("failed", "empty question")
    assert (long.status, long.reason) == ("handed_off", "too_long")
    assert fine.status == "answered"
    assert sum(model.passes) == 1


def test_poison_is_found_by_halving_and_other_questions_are_answered(context):
    texts = [f"fine {n}" for n in range(16)]
    texts[11] = "poison"
    batch, _ = submit(context, texts)

    for _ in range(100):
        with reading(context.engine) as conn:
            queued = conn.scalars(
                sa.select(job_table.c.id).where(job_table.c.state == "queued")
            ).all()
        if not queued:
            break
        for job in queued:
            answer_job(context, FakeModel(), job, quiet)

    rows = stored(context.engine, batch)
    assert [row.position for row in rows] == list(range(1, 17))
    failed = [row for row in rows if row.status == "failed"]
    assert [row.position for row in failed] == [12]
    assert "ValueError: poison" in failed[0].error
    assert all(
        row.answer == text for row, text in zip(rows, texts, strict=True) if text != "poison"
    )
    with reading(context.engine) as conn:
        assert batches.find(conn, str(batch.id)).state is BatchState.DONE


def test_a_frozen_worker_that_wakes_up_writes_nothing(context):
    batch, job = submit(context, ["a"])

    class Frozen(FakeModel):
        def decide(self, texts, embeddings):
            # While this worker is frozen, its lease expires and another worker answers.
            later = context.clock() + 2 * LEASE
            with transaction(context.engine) as conn:
                (lost,) = jobs.expired_leases(conn, later, 10)
                job_failures.fail(conn, lost, error="lost touch", attempts=3, now=later)
            answer_job(context, FakeModel(version="other@2"), job, quiet)
            return super().decide(texts, embeddings)

    summary = answer_job(context, Frozen(), job, quiet)

    assert summary == {"idle": "the lease was lost"}
    (row,) = stored(context.engine, batch)
    assert row.model_version == "other@2"


def test_nothing_is_answered_after_its_deadline(context):
    batch, job = submit(context, ["a", " "], deadline=context.clock() + timedelta(seconds=5))

    class Slow(FakeModel):
        def decide(self, texts, embeddings):
            self.late = True
            return super().decide(texts, embeddings)

    model = Slow()
    clock = context.clock

    def jumping():
        return clock() + timedelta(minutes=1) if getattr(model, "late", False) else clock()

    answer_job(replace(context, clock=jumping), model, job, quiet)
    assert [row.status for row in stored(context.engine, batch)] == ["expired", "expired"]


def test_a_job_waits_for_an_unavailable_database_and_loses_no_attempt(context, monkeypatch):
    batch, job = submit(context, ["a"])
    real, calls = store._store_answers, []

    def flaky(*args):
        calls.append(args)
        if len(calls) < 3:
            raise DatabaseUnavailable("url", "gone")
        return real(*args)

    monkeypatch.setattr(store, "_store_answers", flaky)
    answer_job(context, FakeModel(), job, quiet)

    assert len(calls) == 3
    assert [row.status for row in stored(context.engine, batch)] == ["answered"]
    with reading(context.engine) as conn:
        assert conn.scalar(sa.select(job_table.c.failures)) == 0


def test_progress_is_reported_as_questions_are_decided(context):
    _, job = submit(context, [f"question {n}" for n in range(300)])
    reported = []
    answer_job(context, FakeModel(), job, lambda done, size: reported.append((done, size)))
    assert reported[-1] == (300, 300)
    assert reported == sorted(reported)
    assert len(reported) > 1


def test_a_model_that_answers_nothing_uses_up_no_attempt(context):
    class Broken(FakeModel):
        def decide(self, *_):
            raise RuntimeError("broken")

    batch, job = submit(context, ["a"])
    for _ in range(2 * context.attempts):
        answer_job(context, Broken(), job, quiet)
    assert stored(context.engine, batch) == []

    answer_job(context, FakeModel(), job, quiet)

    (row,) = stored(context.engine, batch)
    assert row.status == "answered"
