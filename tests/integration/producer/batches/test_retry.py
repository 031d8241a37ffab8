from __future__ import annotations

from dataclasses import replace

import pytest

from broker.client import open_broker
from core.domain.batch import BatchState, Lane
from core.domain.result import Status
from core.errors import BacklogFull, BatchClosed, BatchUnknown, BrokerUnavailable
from db.queries import batches
from db.session import reading, transaction
from producer.batches import retry as module
from producer.batches.cancel import cancel
from producer.batches.retry import count_retry, retry
from producer.connections import ProducerContext
from tests.factories import NOW, all_results, finish, job_rows, result, running_job, stored_batch

ENDS = {
    1: Status.ANSWERED,
    2: Status.FAILED,
    3: Status.HANDED_OFF,
    4: Status.FAILED,
    5: Status.ANSWERED,
    6: Status.ANSWERED,
}


@pytest.fixture
def batch(engine):
    """Return a finished batch of three jobs of two questions."""
    batch = stored_batch(engine, 6, job_size=2)
    for first in (1, 3, 5):
        ends = [result(n, ENDS[n]) for n in (first, first + 1)]
        finish(engine, running_job(engine, batch), ends)
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)
    return batch


def _kept(engine, batch):
    return sorted(row.position for row in all_results(engine, batch))


@pytest.mark.parametrize(
    ("statuses", "count", "kept", "sent"),
    [
        ([Status.FAILED], 2, [1, 3, 5, 6], 2),
        ([Status.HANDED_OFF], 1, [1, 2, 4, 5, 6], 1),
        ([Status.HANDED_OFF, Status.FAILED], 3, [1, 5, 6], 2),
        ([Status.EXPIRED], 0, [1, 2, 3, 4, 5, 6], 0),
    ],
)
def test_only_the_chosen_statuses_run_again(  # noqa: PLR0917 - fixtures and cases
    statuses, count, kept, sent, engine, context, batch, waiting
):
    again = retry(context, "tickets", statuses)
    assert again.questions == count
    assert _kept(engine, batch) == kept
    assert waiting(Lane.BULK) == sent
    with reading(engine) as conn:
        batch = batches.find(conn, "tickets")
    assert batch.state is (BatchState.SEALED if count else BatchState.DONE)
    assert (batch.finished_at is None) is bool(count)


def test_a_question_that_runs_again_gets_one_new_result(engine, context, batch):
    before = {row.position: row.cursor for row in all_results(engine, batch)}
    retry(context, "tickets", [Status.FAILED])
    for position in (2, 4):
        finish(engine, running_job(engine, batch), [result(position)])
    after = {row.position: row for row in all_results(engine, batch)}
    assert len(after) == 6
    assert after[2].status == after[4].status == Status.ANSWERED
    last = max(before.values())
    assert [position for position, row in after.items() if row.cursor > last] == [2, 4]


def test_many_jobs_are_queued_in_several_transactions(engine, context, batch, monkeypatch):
    monkeypatch.setattr(module, "_JOBS", 1)
    again = retry(context, "tickets", [Status.FAILED])
    assert again.questions == 2
    assert [row.state for row in job_rows(engine, batch)] == ["queued", "queued", "done"]


def test_a_dry_run_counts_and_changes_nothing(engine, batch):
    counted = count_retry(engine, "tickets", [Status.FAILED])
    assert (counted.questions, counted.dry_run) == (2, True)
    assert count_retry(engine, "tickets", [Status.FAILED], only="missing").questions == 0
    assert _kept(engine, batch) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("batch")
def test_one_class_of_error_runs_again(context):
    assert retry(context, "1", [Status.FAILED], only="missing").questions == 0
    again = retry(context, "1", [Status.FAILED], only="the model raised")
    assert (again.questions, again.dry_run) == (2, False)


def test_a_full_backlog_refuses_a_retry(engine, context, batch):
    stored_batch(engine, 5, name="other")
    full = replace(context, settings=context.settings.model_copy(update={"max_waiting_bulk": 5}))
    with pytest.raises(BacklogFull):
        retry(full, "tickets", [Status.FAILED])
    assert _kept(engine, batch) == [1, 2, 3, 4, 5, 6]


def test_a_cancelled_batch_does_not_run_again(engine, context):
    stored_batch(engine, 2)
    cancel(engine, "tickets")
    with pytest.raises(BatchClosed, match="is cancelled: it cannot be run again"):
        retry(context, "tickets", [Status.FAILED])


def test_an_unknown_batch_is_an_error(context):
    with pytest.raises(BatchUnknown):
        retry(context, "999", [Status.FAILED])


def test_unavailable_redis_changes_nothing(engine, settings, home, batch):
    unreachable = type(settings)(broker_url=f"redis+socket://{home}/none.sock", home=home)
    with open_broker(unreachable) as client, pytest.raises(BrokerUnavailable):
        retry(ProducerContext(unreachable, engine, client), "tickets", [Status.FAILED])
    assert _kept(engine, batch) == [1, 2, 3, 4, 5, 6]
