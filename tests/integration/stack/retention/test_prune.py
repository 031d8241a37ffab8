"""`db prune`: what is old goes, whole and in small steps; what lives is never touched."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState
from core.domain.result import Status
from core.errors import BatchUnknown, FileUnknown, LeaseLost
from db.clock import DatabaseClock
from db.queries import batches, retention, uploaded_files
from db.queries.uploaded_files import OpenAIBatch, UploadedFile
from db.session import reading, transaction
from db.tables import batches as b
from db.tables import file_parts, jobs, questions, result_rows
from db.tables import files as f
from producer.batches.retry import retry
from producer.connections import producer_context
from producer.openai.files import content
from producer.results import pages as results
from producer.results.pages import pages
from stack.retention.prune import count_prunable, prune
from tests import factories
from tests.factories import (
    NOW,
    ended_batch,
    finish,
    job_rows,
    open_batch,
    running_job,
    stored_batch,
)

MONTH = timedelta(days=30)
TABLES = (b, jobs, questions, result_rows)


def _rows(engine, batch):
    with reading(engine) as conn:
        ids = [table.c.id if table is b else table.c.batch_id for table in TABLES]
        return [conn.scalar(sa.select(sa.func.count(x)).where(x == batch.id)) for x in ids]


def _prune(engine, age=MONTH, **values):
    return prune(engine, age, **{"step": 3, "pause": lambda _: None, **values})


def test_old_batches_go_whole_and_others_stay_whole(engine):
    large, small = ended_batch(engine, 10, name="large"), ended_batch(engine, 2, name="small")
    young = ended_batch(engine, name="young", now=DatabaseClock(engine)())
    cancelled = stored_batch(engine, name="cancelled")
    with transaction(engine) as conn:
        batches.end_early(conn, cancelled.id, BatchState.CANCELLED)
    live = stored_batch(engine, name="live")
    still_open = open_batch(engine, name="open")
    done = _prune(engine)
    assert (done.amount.batches, done.amount.questions) == (2, 12)
    assert [_rows(engine, batch) for batch in (large, small)] == [[0] * 4] * 2
    assert _rows(engine, young) == [1, 2, 4, 4]
    assert [_rows(engine, batch) for batch in (cancelled, live)] == [[1, 2, 4, 0]] * 2
    assert _rows(engine, still_open) == [1, 0, 0, 0]


def test_no_step_deletes_more_than_it_may(engine):
    for n, count in enumerate((7, 1, 1, 2, 3, 1)):
        ended_batch(engine, count, name=f"batch {n}")
    counts = []

    def counted(_seconds):
        with reading(engine) as conn:
            counts.append(conn.scalar(sa.select(sa.func.count()).select_from(questions)))

    _prune(engine, pause=counted)
    steps = [before - after for before, after in zip([15, *counts], counts, strict=False)]
    assert sum(steps) == 15
    assert max(steps) == 3


def test_a_follower_is_informed_and_misses_nothing_silently(engine, monkeypatch):
    monkeypatch.setattr(results, "PAGE", 2)
    batch = ended_batch(engine, 9)
    followed = pages(engine, batch.id, follow=True)
    assert [row.position for row in next(followed)] == [1, 2]
    steps = []

    def look(_seconds):
        steps.append(_rows(engine, batch))
        if len(steps) == 1:
            with pytest.raises(BatchUnknown):
                next(followed)

    _prune(engine, pause=look)
    assert steps[0] == [1, 2 + 3, 9, 9]  # looked at while all of it was still there


def test_nobody_finds_a_batch_that_is_being_pruned(engine):
    batch = ended_batch(engine, 9, name="tickets")

    def look(_seconds):
        with reading(engine) as conn:
            assert batches.newest(conn, 10) == []
            assert batches.named(conn, "tickets") is None
            for ref in (str(batch.id), "tickets"):
                with pytest.raises(BatchUnknown):
                    batches.find(conn, ref)

    _prune(engine, pause=look)


def test_interrupted_anywhere_it_goes_on(engine):
    asked = {"large": 8, "small": 2, "other": 5}
    interrupted = 0
    found = [ended_batch(engine, count, name=name) for name, count in asked.items()]
    stored_batch(engine, name="newer")
    while True:
        try:
            _prune(engine, pause=_interrupt_at(1))
        except KeyboardInterrupt:
            interrupted += 1
        else:
            break
    assert interrupted > len(asked)
    assert [_rows(engine, batch) for batch in found] == [[0] * 4] * 3


def test_what_was_left_off_is_counted_to_the_end(engine):
    ended_batch(engine, 8)
    with pytest.raises(KeyboardInterrupt):
        _prune(engine, pause=_interrupt_at(3))
    heard = []
    wanted = count_prunable(engine, MONTH)
    assert (wanted.amount.batches, wanted.amount.questions) == (1, 8)
    done = _prune(engine, on_progress=lambda now, of: heard.append((now.questions, of.questions)))
    assert heard[0] == (6, 8)
    assert heard[-1] == (8, 8)
    assert done.amount == wanted.amount


def _interrupt_at(step):
    taken = []

    def pause(_seconds):
        taken.append(1)
        if len(taken) == step:
            raise KeyboardInterrupt

    return pause


def test_a_batch_that_runs_again_meanwhile_stays(engine, monkeypatch, settings_with_redis):
    batch = stored_batch(engine, 4)
    for _ in range(2):
        job = running_job(engine, batch)
        finish(engine, job, factories.results_of(job, Status.FAILED))
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)
    look_up = retention.finished

    def then_retried(conn, *words, **more):
        found = look_up(conn, *words, **more)
        if found:
            with producer_context(settings_with_redis) as context:
                retry(context, str(batch.id), [Status.FAILED])
        return found

    monkeypatch.setattr(retention, "finished", then_retried)
    assert _prune(engine).amount.batches == 0
    assert _rows(engine, batch) == [1, 2, 4, 0]
    assert [row.state for row in job_rows(engine, batch)] == ["queued", "queued"]


def test_a_pruned_batch_is_not_run_again(engine, settings_with_redis):
    batch = ended_batch(engine)

    def look(_seconds):
        with producer_context(settings_with_redis) as context, pytest.raises(BatchUnknown):
            retry(context, str(batch.id), [Status.ANSWERED])
        with transaction(engine) as conn, pytest.raises(BatchUnknown):
            batches.lock_open_or_done(conn, batch.id, "run again")

    _prune(engine, pause=look)


def test_no_id_comes_twice(engine):
    """SQLite counts on from the largest there is: a frozen worker would meet another's job."""
    batch = stored_batch(engine, 2, name="tickets")
    frozen = running_job(engine, batch)
    factories.fail(engine, frozen)  # its lease ran out
    finish(engine, running_job(engine, batch))
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)
    assert _prune(engine).amount.questions == 2
    assert _rows(engine, batch) == [1, 1, 0, 0]  # rows without their texts
    newer = stored_batch(engine, 2, name="tickets")
    assert newer.id > batch.id
    held = running_job(engine, newer)
    assert held.id > frozen.id
    with pytest.raises(LeaseLost):
        finish(engine, frozen)
    assert count_prunable(engine, MONTH).amount.batches == 0
    _prune(engine)
    assert _rows(engine, batch) == [0] * 4
    assert _rows(engine, newer) == [1, 1, 2, 0]


def test_bare_rows_say_nothing(engine):
    batch = ended_batch(engine, 2, name="Jane Doe's tickets")
    with transaction(engine) as conn:
        conn.execute(jobs.update().values(error="ValueError: Where is my parcel?"))
    _prune(engine)
    with reading(engine) as conn:
        (row,) = conn.execute(sa.select(b).where(b.c.id == batch.id)).all()
        (job,) = conn.execute(sa.select(jobs)).all()
    assert (row.name.strip(), row.source, row.idempotency_key) == (str(batch.id), "", "")
    assert (job.error, job.owner) == (None, None)


def test_a_dry_run_tells_what_would_go_and_changes_nothing(engine):
    found = [ended_batch(engine, 5, name="one"), ended_batch(engine, 1, name="two")]
    before = [_rows(engine, batch) for batch in found]
    wanted = count_prunable(engine, MONTH)
    assert [_rows(engine, batch) for batch in found] == before
    assert wanted.amount == _prune(engine).amount
    assert (wanted.amount.batches, wanted.amount.questions) == (2, 6)


@pytest.fixture
def kept(engine):
    """Keep a file of so many parts, since an age."""

    def kept(name, age, parts=20, *, complete=True):
        file = UploadedFile(f"file-{name}", name, parts, DatabaseClock(engine)() - age)
        with transaction(engine) as conn:
            uploaded_files.begin(conn, file)
            for number in range(parts):
                uploaded_files.add_part(conn, file.id, number, b"x")
            if complete:
                uploaded_files.complete(conn, file)
        return file

    return kept


def _named(engine, file, name, now):
    with transaction(engine) as conn:
        uploaded_files.add_openai_batch(
            conn, OpenAIBatch(name, file.id, "/v1/responses", None, now)
        )
    return ended_batch(engine, 1, name=name, now=now)


def _files(engine):
    with reading(engine) as conn:
        found = (
            set(conn.scalars(sa.select(f.c.id))),
            set(conn.scalars(sa.select(file_parts.c.file_id))),
        )
    assert found[0] == found[1]
    return {name.removeprefix("file-") for name in found[0]}


def test_files_that_no_batch_names_go(engine, kept):
    day, now = timedelta(days=1), DatabaseClock(engine)()
    kept("unused", 2 * MONTH)
    kept("young", day)
    _named(engine, kept("of an old batch", 2 * MONTH), "old", now - 2 * MONTH)
    _named(engine, kept("of a young batch", 2 * MONTH), "young", now)
    kept("dead upload", day, complete=False)
    kept("upload", timedelta(), complete=False)
    assert _prune(engine).amount.files == 3
    assert _files(engine) == {"young", "of a young batch", "upload"}


def test_a_file_that_goes_is_not_half_read_nor_completed(engine, kept):
    file = kept("unused", 2 * MONTH)
    upload = kept("upload", 2 * MONTH, complete=False)
    read = content(engine, file.id)
    next(read)

    _prune(engine)
    with pytest.raises(FileUnknown):
        list(read)
    with pytest.raises(FileUnknown), transaction(engine) as conn:
        uploaded_files.complete(conn, upload)


def test_a_file_goes_in_steps_and_an_interruption_does_no_harm(engine, kept):
    kept("unused", 2 * MONTH)
    with pytest.raises(KeyboardInterrupt):
        _prune(engine, pause=_interrupt_at(2))
    with reading(engine) as conn:
        left = conn.scalar(sa.select(sa.func.count()).select_from(file_parts))
        with pytest.raises(FileUnknown):
            uploaded_files.find(conn, "file-unused")
    assert 0 < left < 20
    assert _prune(engine).amount.files == 1
    assert _files(engine) == set()
