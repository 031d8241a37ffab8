from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

from producer.web.live.long_polling import ResultWaiter
from tests.factories import finish, running_job, stored_batch

LONG = 20  # seconds


def test_a_request_is_woken_by_the_result_of_its_own_question(engine):
    batches = [stored_batch(engine, 1, name=name) for name in ("a", "b", "c")]
    waiter = ResultWaiter(engine, Semaphore(9))
    with ThreadPoolExecutor(4) as pool:
        twice = [pool.submit(waiter.wait, batches[0].id, LONG) for _ in range(2)]
        other = pool.submit(waiter.wait, batches[1].id, 0.5)
        finish(engine, running_job(engine, batches[0]))
        assert [future.result() for future in twice] == [True, True]
        assert other.result() is False
        finish(engine, running_job(engine, batches[2]))
        assert waiter.wait(batches[2].id, LONG) is True


def test_without_a_free_slot_no_request_waits(engine):
    batch = stored_batch(engine, 1)
    finish(engine, running_job(engine, batch))
    assert ResultWaiter(engine, Semaphore(0)).wait(batch.id, LONG) is False
