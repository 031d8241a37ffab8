from __future__ import annotations

from core.domain.result import Status
from db.queries import batches, retries
from db.session import reading, transaction
from tests.factories import (
    NOW,
    all_results,
    claimed,
    fail,
    finish,
    later,
    open_batch,
    queued_ids,
    result,
    results_of,
    running_job,
    stored_batch,
)


def _progress(engine, batch, now=NOW):
    with reading(engine) as conn:
        return batches.progress(conn, batch.id, now)


def test_progress_counts_each_question_once(engine):
    batch = stored_batch(engine, 10, job_size=2)
    running_job(engine, batch)
    finish(engine, running_job(engine, batch))
    job = running_job(engine, batch)
    finish(
        engine,
        job,
        [result(job.first_position, Status.HANDED_OFF), result(job.last_position, Status.FAILED)],
    )
    progress = _progress(engine, batch)
    assert (progress.queued, progress.running, progress.final) == (4, 2, 4)
    assert progress.by_status == {
        Status.ANSWERED: 2,
        Status.HANDED_OFF: 1,
        Status.FAILED: 1,
        Status.CANCELLED: 0,
        Status.EXPIRED: 0,
    }
    assert progress.oldest_queued_at == NOW


def test_progress_of_a_batch_without_jobs_is_nothing(engine):
    progress = _progress(engine, open_batch(engine))
    assert (progress.queued, progress.running, progress.final) == (0, 0, 0)
    assert (progress.recent, progress.oldest_queued_at) == (0, None)


def test_progress_knows_what_became_final_lately(engine):
    batch = stored_batch(engine, 4)
    finish(engine, running_job(engine, batch), now=NOW)
    finish(engine, running_job(engine, batch), now=later(25))
    window = batches.RATE_WINDOW.total_seconds()
    assert _progress(engine, batch, later(26)).recent == 4
    assert _progress(engine, batch, later(window + 1)).recent == 2
    assert _progress(engine, batch, later(window + 26)).recent == 0


def test_progress_adds_up_while_a_job_is_split(engine):
    batch = stored_batch(engine, 5, job_size=5)
    for _ in range(2):
        fail(engine, running_job(engine, batch))
    progress = _progress(engine, batch)
    assert (progress.queued, progress.running, progress.final) == (5, 0, 0)


def test_progress_adds_up_while_a_partly_retried_job_is_split(engine):
    batch = stored_batch(engine, 5, job_size=5)
    job = running_job(engine, batch)
    answers = [*results_of(job)[:3], result(4, Status.FAILED), result(5, Status.FAILED)]
    finish(engine, job, answers)
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW)
        batches.reopen(conn, batch.id)
        assert retries.retry(conn, batch, [Status.FAILED], limit=9, now=NOW) == 2
    assert (_progress(engine, batch).queued, _progress(engine, batch).final) == (2, 3)
    for _ in range(2):
        fail(engine, running_job(engine, batch))
    assert (_progress(engine, batch).queued, _progress(engine, batch).final) == (2, 3)
    for job_id in queued_ids(engine, batch):
        half = claimed(engine, job_id)
        answered = {row.position for row in all_results(engine, batch)}
        finish(engine, half, [r for r in results_of(half) if r.position not in answered])
    progress = _progress(engine, batch)
    assert (progress.queued, progress.running, progress.final) == (0, 0, 5)
    assert [row.position for row in all_results(engine, batch)] == [1, 2, 3, 4, 5]
