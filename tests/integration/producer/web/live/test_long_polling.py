from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

from producer.web.live.long_polling import ResultWaiter
from tests.factories import finish, running_job, stored_batch

LONG = 20  # seconds


def test_whoever_waits_is_woken_by_the_result_of_the_own_question(engine):
    asked = [stored_batch(engine, 1, name=name) for name in ("a", "b", "c")]
    waiting = ResultWaiter(engine, Semaphore(9))
    with ThreadPoolExecutor(4) as pool:
        twice = [pool.submit(waiting.wait, asked[0].id, LONG) for _ in range(2)]
        other = pool.submit(waiting.wait, asked[1].id, 0.5)
        finish(engine, running_job(engine, asked[0]))
        assert [one.result() for one in twice] == [True, True]
        assert other.result() is False
        finish(engine, running_job(engine, asked[2]))
        assert waiting.wait(asked[2].id, LONG) is True


def test_where_no_place_is_free_nobody_waits(engine):
    batch = stored_batch(engine, 1)
    finish(engine, running_job(engine, batch))
    assert ResultWaiter(engine, Semaphore(0)).wait(batch.id, LONG) is False
