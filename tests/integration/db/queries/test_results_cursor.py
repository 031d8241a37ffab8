"""A poller that follows the cursor of `results` sees every row exactly once."""

from __future__ import annotations

import threading

import pytest

from core.domain.batch import BatchState
from core.domain.result import Status
from db.engine import open_engine
from db.queries import batches, jobs, results, retries
from db.session import reading, transaction
from tests.factories import (
    NOW,
    all_results,
    claimed,
    finish,
    queued_ids,
    result,
    results_of,
    running_job,
    stored_batch,
)


class Poller:
    """A poller of a batch's results, as any SQL client may write it."""

    def __init__(self, engine, batch, limit=1_000):
        self.engine, self.batch, self.limit = engine, batch, limit
        self.cursor, self.seen = 0, []

    def poll(self):
        """Read one page and return its number of rows."""
        with reading(self.engine) as conn:
            page = results.page(conn, self.batch.id, after=self.cursor, limit=self.limit)
        self.seen += [row.position for row in page]
        if page:
            self.cursor = page[-1].cursor
        return len(page)

    def drain(self):
        while self.poll():
            pass


@pytest.fixture
def other_engine(settings):
    """Return an engine as a second process would open it."""
    engine = open_engine(settings)
    yield engine
    engine.dispose()


def test_a_page_ends_at_its_limit_and_the_next_continues_after_it(engine):
    batch = stored_batch(engine, 5, job_size=5)
    finish(engine, running_job(engine, batch))
    poller = Poller(engine, batch, limit=2)
    assert [poller.poll() for _ in range(4)] == [2, 2, 1, 0]
    assert poller.seen == [1, 2, 3, 4, 5]


def test_cursors_of_a_batch_are_all_different_though_one_transaction_ends_many_jobs(engine):
    """If two rows had equal cursors, a page that ends between them would lose the second."""
    batch = stored_batch(engine, 6, job_size=2)
    with transaction(engine) as conn:
        batches.end_early(conn, batch.id, BatchState.CANCELLED)
        jobs.close_queued(conn, batch, Status.CANCELLED, limit=10, now=NOW)
    cursors = [row.cursor for row in all_results(engine, batch)]
    assert len(set(cursors)) == 6
    poller = Poller(engine, batch, limit=1)
    poller.drain()
    assert sorted(poller.seen) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("retried", [1, 2], ids=["the first result", "the last result"])
def test_a_poller_sees_the_result_of_a_retry(engine, other_engine, retried):
    """The cursor of a deleted row must not be used again."""
    batch = stored_batch(engine, 2, job_size=1)
    for position in (1, 2):
        status = Status.FAILED if position == retried else Status.ANSWERED
        finish(engine, running_job(engine, batch), [result(position, status)])
    poller = Poller(other_engine, batch)
    poller.drain()
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
        batches.reopen(conn, batch.id)
        retries.retry(conn, batch, [Status.FAILED], limit=1, now=NOW)
    finish(engine, running_job(engine, batch), [result(retried)])
    poller.drain()
    assert poller.seen == [1, 2, retried]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_poller_misses_nothing_when_transactions_commit_out_of_order(engine, other_engine):
    """SQLite has one writer at a time."""
    batch = stored_batch(engine, 6, job_size=2)
    first, second, third = (claimed(engine, job_id) for job_id in queued_ids(engine, batch))
    poller = Poller(other_engine, batch)
    with transaction(engine) as slow:
        jobs.finish(slow, first, results_of(first), now=NOW)
        finish(engine, second)
        poller.drain()
        finish(engine, third)
        poller.drain()
        assert poller.seen == []
    poller.drain()
    assert poller.seen == [1, 2, 3, 4, 5, 6]


def test_a_transaction_that_fails_holds_no_result_back(engine, other_engine):
    batch = stored_batch(engine, 4, job_size=2)
    first, second = (claimed(engine, job_id) for job_id in queued_ids(engine, batch))
    with engine.connect() as conn:  # rolled back at the end
        jobs.finish(conn, first, results_of(first), now=NOW)
    finish(engine, second)
    poller = Poller(other_engine, batch)
    poller.drain()
    assert poller.seen == [3, 4]
    finish(engine, first)
    poller.drain()
    assert poller.seen == [3, 4, 1, 2]


def test_a_poller_sees_each_result_once_while_many_workers_write(engine, other_engine):
    batch = stored_batch(engine, 120, job_size=2)
    ids = queued_ids(engine, batch)
    poller, faults = Poller(other_engine, batch, limit=3), []

    def work(mine):
        try:
            for job_id in mine:
                finish(engine, claimed(engine, job_id))
        except Exception as error:  # noqa: BLE001 - the test asserts that there are none
            faults.append(error)

    threads = [threading.Thread(target=work, args=(ids[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        poller.poll()
    poller.drain()
    assert faults == []
    assert len(poller.seen) == 120
    assert sorted(poller.seen) == list(range(1, 121))
