"""A job's way through a worker process, with a model that is six lines long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane, Question
from core.domain.result import Answer, Status
from core.errors import DatabaseUnavailable
from db.clock import DatabaseClock
from db.queries import batches, job_failures, jobs
from db.queries.questions import append
from db.session import reading, transaction
from db.tables import jobs as job_table
from db.tables import results as visible
from worker.inference import passes
from worker.inference.model_watcher import ActiveModels
from worker.inference.protocol import PassBudget
from worker.jobs import answer, store
from worker.jobs.context import JobContext
from worker.jobs.runner import JobRunner
from worker.recovery.leases import LeaseRenewer

LEASE = timedelta(seconds=30)


@dataclass
class Echo:
    """Answers every question with its own text; raises at the text `poison`."""

    version: str = "echo@1"
    budget: PassBudget = field(default_factory=lambda: PassBudget(tokens=64, questions=8))
    encoded: list[int] = field(default_factory=list)

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[1] * (len(text) + 1) for text in texts]

    def encode(self, tokens):
        self.encoded.append(len(tokens))
        return np.zeros((len(tokens), 2), dtype=np.float32)

    def decide(self, texts, embeddings):
        if "poison" in texts:
            raise ValueError("poison")
        assert len(texts) == len(embeddings)
        return [Answer(Status.ANSWERED, answer=f"re: {text}", confidence=1.0) for text in texts]


@pytest.fixture
def desk(engine):
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


def submit(desk, texts, *, deadline=None, lane=Lane.BULK):
    with transaction(desk.engine) as conn:
        now = desk.clock()
        batch = batches.create(
            conn,
            name=f"batch-{now.timestamp()}",
            idempotency_key="k",
            lane=lane,
            source="test",
            now=now,
            deadline=deadline,
        )
        questions = [Question(n, f"key-{n}", text) for n, text in enumerate(texts, start=1)]
        sent = append(conn, batch, questions, job_size=1000, sent=True, now=now)
        batches.seal(conn, batch, now)
    return batch, sent[0].job


def stored(engine, batch):
    with reading(engine) as conn:
        rows = conn.execute(
            sa.select(visible).where(visible.c.batch_id == batch.id).order_by(visible.c.position)
        )
        return list(rows)


def answer_job(desk, model, job, progress):
    return JobRunner(desk, partial(answer.answer_jobs, desk, ActiveModels(model))).run_message(
        job, progress
    )


def quiet(_done, _size):
    """Progress that nobody hears."""


def test_every_question_gets_its_own_answer_and_the_batch_is_done(desk):
    texts = [f"{'x' * (n % 17)}{n}" for n in range(50)]
    batch, job = submit(desk, texts)

    summary = answer_job(desk, Echo(), job, quiet)

    rows = stored(desk.engine, batch)
    assert [row.answer for row in rows] == [f"re: {text}" for text in texts]
    assert [row.key for row in rows] == [f"key-{n}" for n in range(1, 51)]
    assert {row.model_version for row in rows} == {"echo@1"}
    assert summary["answered"] == 50
    with reading(desk.engine) as conn:
        assert batches.find(conn, str(batch.id)).state is BatchState.DONE


def test_a_message_delivered_five_times_changes_nothing(desk):
    batch, job = submit(desk, ["a", "b"])
    summaries = [answer_job(desk, Echo(), job, quiet) for _ in range(5)]
    assert len(stored(desk.engine, batch)) == 2
    assert all("idle" in summary for summary in summaries[1:])


def test_equal_questions_are_computed_once(desk):
    _, job = submit(desk, ["same", "same", "other", "same"])
    model = Echo()
    answer_job(desk, model, job, quiet)
    assert sum(model.encoded) == 2


def test_blank_and_very_long_questions_never_reach_the_model(desk):
    batch, job = submit(desk, ["  \t", "x" * 101, "fine"])
    model = Echo()
    answer_job(desk, model, job, quiet)
    blank, long, fine = stored(desk.engine, batch)
    assert (blank.status, blank.error) == ("failed", "empty question")
    assert (long.status, long.reason) == ("handed_off", "too_long")
    assert fine.status == "answered"
    assert sum(model.encoded) == 1


def test_poison_is_found_by_halving_and_its_neighbours_are_answered(desk):
    texts = [f"fine {n}" for n in range(16)]
    texts[11] = "poison"
    batch, _ = submit(desk, texts)

    for _ in range(100):
        with reading(desk.engine) as conn:
            queued = conn.scalars(
                sa.select(job_table.c.id).where(job_table.c.state == "queued")
            ).all()
        if not queued:
            break
        for job in queued:
            answer_job(desk, Echo(), job, quiet)

    rows = stored(desk.engine, batch)
    assert [row.position for row in rows] == list(range(1, 17))
    parked = [row for row in rows if row.status == "failed"]
    assert [row.position for row in parked] == [12]
    assert "ValueError: poison" in parked[0].error
    assert all(
        row.answer == f"re: {t}" for row, t in zip(rows, texts, strict=True) if t != "poison"
    )
    with reading(desk.engine) as conn:
        assert batches.find(conn, str(batch.id)).state is BatchState.DONE


def test_a_frozen_worker_that_wakes_up_writes_nothing(desk):
    batch, job = submit(desk, ["a"])

    class Frozen(Echo):
        def decide(self, texts, embeddings):
            # While this one is frozen its lease runs out and another worker answers.
            later = desk.clock() + 2 * LEASE
            with transaction(desk.engine) as conn:
                (lost,) = jobs.expired_leases(conn, later, 10)
                job_failures.fail(conn, lost, error="lost touch", attempts=3, now=later)
            answer_job(desk, Echo(version="other@2"), job, quiet)
            return super().decide(texts, embeddings)

    summary = answer_job(desk, Frozen(), job, quiet)

    assert summary == {"idle": "the lease was lost"}
    (row,) = stored(desk.engine, batch)
    assert row.model_version == "other@2"


def test_nothing_is_answered_after_its_deadline(desk):
    batch, job = submit(desk, ["a", " "], deadline=desk.clock() + timedelta(seconds=5))

    class Slow(Echo):
        def decide(self, texts, embeddings):
            object.__setattr__(self, "late", True)
            return super().decide(texts, embeddings)

    model = Slow()
    clock = desk.clock

    def jumping():
        return clock() + timedelta(minutes=1) if getattr(model, "late", False) else clock()

    answer_job(replace(desk, clock=jumping), model, job, quiet)
    assert [row.status for row in stored(desk.engine, batch)] == ["expired", "expired"]


def test_a_database_that_goes_away_is_waited_for_and_burns_no_attempt(desk, monkeypatch):
    batch, job = submit(desk, ["a"])
    real, calls = store._store_answers, []

    def flaky(*args):
        calls.append(args)
        if len(calls) < 3:
            raise DatabaseUnavailable("url", "gone")
        return real(*args)

    monkeypatch.setattr(store, "_store_answers", flaky)
    answer_job(desk, Echo(), job, quiet)

    assert len(calls) == 3
    assert [row.status for row in stored(desk.engine, batch)] == ["answered"]
    with reading(desk.engine) as conn:
        assert conn.scalar(sa.select(job_table.c.failures)) == 0


def test_progress_is_told_as_questions_are_decided(desk, monkeypatch):
    monkeypatch.setattr(passes, "_DECIDED", 8)
    _, job = submit(desk, [f"question {n}" for n in range(20)])
    heard = []
    answer_job(desk, Echo(), job, lambda done, size: heard.append((done, size)))
    assert heard[-1] == (20, 20)
    assert heard == sorted(heard)
    assert len(heard) > 1


def test_a_model_that_answers_nothing_burns_no_attempt(desk):
    class Broken(Echo):
        def decide(self, *_):
            raise RuntimeError("broken")

    batch, job = submit(desk, ["a"])
    for _ in range(2 * desk.attempts):
        answer_job(desk, Broken(), job, quiet)
    assert stored(desk.engine, batch) == []

    answer_job(desk, Echo(), job, quiet)

    (row,) = stored(desk.engine, batch)
    assert row.status == "answered"
