from __future__ import annotations

import json

import pytest

from core.domain.batch import Lane
from core.domain.result import Status
from core.errors import BatchUnknown
from db.queries import batches
from db.session import transaction
from producer.batches import status
from producer.batches.status import batch_status, newest, watch
from tests.factories import (
    NOW,
    claimed,
    fail,
    finish,
    later,
    open_batch,
    queued_ids,
    result,
    running_job,
    stored_batch,
)

FIELDS = [
    "batch",
    "name",
    "lane",
    "state",
    "questions",
    "answered",
    "handed_off",
    "failed",
    "cancelled",
    "expired",
    "queued",
    "running",
    "questions_per_second",
    "eta_seconds",
    "oldest_waiting_seconds",
]


def _document(engine, batch, seconds: float = 20):
    return batch_status(engine, str(batch.id), lambda: later(seconds)).document()


@pytest.mark.parametrize("ref", ["999", "no such name", "", "9" * 40])
def test_an_unknown_batch_is_an_error_and_not_pending(ref, engine):
    for read in (batch_status, lambda engine, ref: watch(engine, ref, print)):
        with pytest.raises(BatchUnknown):
            read(engine, ref)


def test_a_new_batch_is_queued(engine):
    batch = stored_batch(engine, 4, job_size=2, name="july", lane=Lane.INTERACTIVE)
    document = _document(engine, batch)
    assert list(document) == FIELDS
    assert document == {
        "batch": batch.id,
        "name": "july",
        "lane": "interactive",
        "state": "sealed",
        "questions": 4,
        **dict.fromkeys(Status, 0),
        "queued": 4,
        "running": 0,
        "questions_per_second": 0.0,
        "eta_seconds": None,
        "oldest_waiting_seconds": 20.0,
    }
    assert json.loads(json.dumps(document)) == document


def test_every_question_is_counted_by_its_state(engine):
    batch = stored_batch(engine, 10, job_size=2)
    ends = [result(1), result(2, Status.HANDED_OFF)]
    finish(engine, running_job(engine, batch), ends, now=later(10))
    ends = [result(3), result(4, Status.FAILED)]
    finish(engine, running_job(engine, batch), ends, now=later(15))
    claimed(engine, queued_ids(engine, batch)[0])
    document = _document(engine, batch)
    counts = {name: document[name] for name in (*Status, "queued", "running")}
    assert counts == {
        "answered": 2,
        "handed_off": 1,
        "failed": 1,
        "cancelled": 0,
        "expired": 0,
        "queued": 4,
        "running": 2,
    }
    assert document["questions_per_second"] == pytest.approx(4 / 20)
    assert document["eta_seconds"] == pytest.approx(6 / (4 / 20))


def test_the_rate_is_of_the_last_half_minute(engine):
    batch = stored_batch(engine, 8, job_size=2)
    for seconds in (10, 100, 110):
        finish(engine, running_job(engine, batch), now=later(seconds))
    assert _document(engine, batch, 115)["questions_per_second"] == pytest.approx(4 / 30, abs=1e-3)
    standstill = _document(engine, batch, 1_000)
    assert (standstill["questions_per_second"], standstill["eta_seconds"]) == (0.0, None)


def test_a_finished_batch_has_its_mean_rate(engine):
    batch = stored_batch(engine, 4, job_size=4)
    finish(engine, running_job(engine, batch), now=later(8))
    with transaction(engine) as conn:
        batches.close_finished(conn, later(8), batch.id)
    document = _document(engine, batch, 1_000)
    assert (document["state"], document["answered"]) == ("done", 4)
    assert document["questions_per_second"] == pytest.approx(0.5)
    assert (document["eta_seconds"], document["oldest_waiting_seconds"]) == (0.0, None)


def test_a_job_that_failed_and_waits_again_is_queued(engine):
    batch = stored_batch(engine, 2, job_size=2)
    fail(engine, running_job(engine, batch))
    assert _document(engine, batch)["queued"] == 2


def test_a_batch_created_now_has_no_rate(engine):
    batch = stored_batch(engine, 2)
    document = _document(engine, batch, 0)
    assert (document["questions_per_second"], document["eta_seconds"]) == (None, None)


def test_the_databases_clock_is_used(engine):
    batch = open_batch(engine, now=NOW)
    assert batch_status(engine, batch.name).now > NOW


def test_the_newest_come_first_up_to_the_limit(engine):
    for name in ("a", "b", "c"):
        open_batch(engine, name)
    assert [status.batch.name for status in newest(engine, 2)] == ["c", "b"]


def test_watching_reports_every_change_and_ends_with_the_batch(engine, monkeypatch):
    monkeypatch.setattr(status, "_POLL_SECONDS", 0)
    batch = stored_batch(engine, 4, job_size=2)
    reported: list[int] = []

    def on_poll(status):
        reported.append(status.progress.final)
        if status.progress.queued:
            finish(engine, running_job(engine, batch))
        else:
            with transaction(engine) as conn:
                batches.close_finished(conn, NOW, batch.id)

    assert watch(engine, str(batch.id), on_poll).progress.final == 4
    assert reported == [0, 2, 4, 4]
