from __future__ import annotations

from itertools import chain

import pytest

from core.domain.result import Status
from core.errors import BatchUnknown
from db.queries import batches
from db.session import transaction
from producer.results import pages as results
from producer.results.pages import pages
from tests.factories import NOW, finish, partly_final_batch, running_job


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(results, "PAGE", 2)
    monkeypatch.setattr(results, "_POLL_SECONDS", 0.01)


@pytest.fixture
def batch(engine):
    """Return a batch of three jobs of three questions, one job final."""
    return partly_final_batch(engine, 9)


def _end(engine, batch):
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)


def _positions(pages):
    return [[row.position for row in page] for page in pages]


def test_pages_are_in_the_order_of_the_cursor(engine, batch):
    read = list(pages(engine, batch.id))
    assert _positions(read) == [[1, 2], [3]]
    cursors = [row.cursor for page in read for row in page]
    assert cursors == sorted(set(cursors))
    assert read[0][0].question == "Where is my parcel?"


def test_since_continues_after_a_cursor(engine, batch):
    first = next(pages(engine, batch.id))
    assert _positions(pages(engine, batch.id, since=first[0].cursor)) == [[2, 3]]
    assert _positions(pages(engine, batch.id, since=first[1].cursor)) == [[3]]
    assert list(pages(engine, batch.id, since=2**62)) == []


@pytest.mark.parametrize(
    ("status", "positions"),
    [(Status.ANSWERED, [[1]]), (Status.FAILED, [[3]]), (Status.EXPIRED, [])],
)
def test_results_are_filtered_by_status(status, positions, engine, batch):
    assert _positions(pages(engine, batch.id, status=status)) == positions


def test_following_waits_for_every_result_and_ends_with_the_batch(engine, batch, monkeypatch):
    work = iter([lambda: finish(engine, running_job(engine, batch))] * 2)

    def sleep(_: float) -> None:
        next(work, lambda: _end(engine, batch))()

    monkeypatch.setattr(results.time, "sleep", sleep)
    positions = _positions(pages(engine, batch.id, follow=True))
    assert list(chain(*positions)) == list(range(1, 10))


def test_a_poller_that_remembers_its_cursor_sees_every_result_once(engine, batch):
    seen, cursor = [], 0
    for _ in range(3):
        for page in pages(engine, batch.id, since=cursor):
            seen += [row.position for row in page]
            cursor = page[-1].cursor
        if len(seen) < 9:
            finish(engine, running_job(engine, batch))
    assert seen == list(range(1, 10))


def test_a_finished_batch_is_read_completely_without_following(engine, batch):
    for _ in range(2):
        finish(engine, running_job(engine, batch))
    _end(engine, batch)
    assert list(chain(*_positions(pages(engine, batch.id)))) == list(range(1, 10))


def test_an_unknown_batch_is_an_error(engine):
    with pytest.raises(BatchUnknown):
        list(pages(engine, 999))
