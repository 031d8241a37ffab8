"""Two operations on a batch, one started between two statements of the other.

Every interleaving must keep these properties: each question gets exactly one result, or its batch
is deleted completely; a poller misses no row.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import timedelta
from enum import Enum, auto
from itertools import count

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane
from core.domain.job import JobState
from core.domain.result import Status
from core.errors import BatchClosed, BatchUnknown, LeaseLost, SourceChanged
from db import tables
from db.queries import batches, claims, jobs, results, retries
from db.session import reading, transaction
from producer.batches.cancel import cancel
from producer.submission.append import open_batch
from stack.retention.prune import prune
from tests import factories
from tests.factories import LEASE, later, result, running_job, stored_batch
from tests.integration.interleaving import Interleaving
from worker.recovery.sweep import Sweep

ALLOWED = (LeaseLost, BatchClosed, BatchUnknown, SourceChanged)
_names = count()
RULES = {"owner": "race", "lease": LEASE, "now": later(1)}


class Lanes:
    """A Redis that never fills up."""

    def waiting(self, _lane):
        return 0

    def send(self, messages):
        pass


class Stage(Enum):
    """The progress of the batch before the operations."""

    RUNNING = auto()
    ENDING = auto()
    FINISHED = auto()


class Scene:
    """A batch of three jobs of two questions, and the operations on it.

    The first job is done, and one of its questions failed. The second job runs its second
    attempt. The third job is queued, or done if the batch is ending. If the batch has finished,
    all three jobs are done.
    """

    def __init__(self, engine: sa.Engine, stage: Stage) -> None:
        self.engine = engine
        self.batch = stored_batch(engine, 6, name=f"batch {next(_names)}")
        first = running_job(engine, self.batch)
        ends = factories.results_of(first)[:1]
        factories.finish(engine, first, [*ends, result(first.last_position, Status.FAILED)])
        factories.fail(engine, running_job(engine, self.batch))
        self.running = running_job(engine, self.batch)
        if stage is not Stage.RUNNING:
            factories.finish(engine, running_job(engine, self.batch))
        if stage is Stage.FINISHED:
            self.finish(engine)
        self.seen = self._poll(0)
        self.is_retried = False

    def cancel(self, engine):
        cancel(engine, str(self.batch.id))
        with transaction(engine) as conn:  # no job starts any more
            assert claims.claim_next(conn, Lane.BULK, max_questions=99, limit=9, **RULES) == []

    def finish(self, engine):
        answers = factories.results_of(self.running)
        with transaction(engine) as conn:
            jobs.finish(conn, self.running, answers, now=later(2))
        self.close(engine)

    def close(self, engine):
        with transaction(engine) as conn:
            batches.close_finished(conn, later(3), self.batch.id)

    def retry(self, engine):
        again = {"limit": 50, "now": later(4)}
        with transaction(engine) as conn:
            queued = retries.retry(conn, self.batch, [Status.FAILED], **again)
        self.is_retried = bool(queued)  # committed, so a prune must keep the batch

    def sweep(self, engine):
        Sweep(engine, lambda: later(100), Lanes(), 3, 100).run()

    def claim(self, engine):
        with transaction(engine) as conn:
            claimed = claims.claim_next(conn, Lane.BULK, max_questions=99, limit=9, **RULES)
        for job in claimed:
            with transaction(engine) as conn:
                questions = results.of_jobs(conn, [job])[0]
                jobs.finish(conn, job, [result(p) for p, _, _ in questions], now=later(5))

    def prune(self, engine):
        prune(engine, timedelta(days=1), step=3, pause=lambda _: None)

    def submit(self, engine):
        open_batch(engine, name=self.batch.name, source="race")

    def follow(self, engine):
        cursor, positions = 0, []
        while True:
            with reading(engine) as conn:
                finished = batches.find(conn, str(self.batch.id)).finished_at is not None
                page = results.page(conn, self.batch.id, after=cursor, limit=2)
            positions += [row.position for row in page]
            if not page:
                break
            cursor = page[-1].cursor
        if finished:
            assert sorted(positions) == list(range(1, 7)), "a poller silently missed rows"

    def _poll(self, after):
        with reading(self.engine) as conn:
            rows = results.page(conn, self.batch.id, after=after)
        return [(row.cursor, row.position) for row in rows]

    def settle(self):
        """Finish all remaining jobs."""
        for _ in range(9):
            self.sweep(self.engine)
            waiting = factories.queued_ids(self.engine, self.batch)
            for number in waiting:
                job = factories.claimed(self.engine, number, now=later(101))
                with reading(self.engine) as conn:
                    questions = results.of_jobs(conn, [job])[0]
                factories.finish(self.engine, job, [result(p) for p, _, _ in questions])
            self.close(self.engine)
            if not waiting:
                return
        raise AssertionError("the batch does not finish")

    def check(self):
        """Check that every question has its result, or that the batch is deleted."""
        self.settle()
        with reading(self.engine) as conn:
            row = conn.execute(
                sa.select(tables.batches).where(tables.batches.c.id == self.batch.id)
            ).first()
        rows = self._rows()
        if row is None or row.state == BatchState.PRUNED:
            assert not self.is_retried, "a retried batch was deleted"
            assert rows[tables.questions] == rows[tables.result_rows] == []
            assert all(job.state in (JobState.DONE, JobState.DEAD) for job in rows[tables.jobs])
            return
        assert row.finished_at is not None
        assert row.state in (BatchState.DONE, BatchState.CANCELLED)
        for table in (tables.questions, tables.result_rows):
            assert [question.position for question in rows[table]] == list(range(1, 7))
        self._check_jobs(rows[tables.jobs])
        self._check_poller()

    def _rows(self):
        rows = {}
        with reading(self.engine) as conn:
            for table in (tables.questions, tables.result_rows, tables.jobs):
                order = table.c.id if table is tables.jobs else table.c.position
                query = sa.select(table).where(table.c.batch_id == self.batch.id).order_by(order)
                rows[table] = conn.execute(query).all()
        return rows

    def _check_jobs(self, rows):
        whole = [job for job in rows if job.state != JobState.SPLIT]
        assert not [job for job in whole if job.state in (JobState.QUEUED, JobState.RUNNING)]
        covered = [p for job in whole for p in range(job.first_position, job.last_position + 1)]
        assert sorted(covered) == list(range(1, 7))
        counted = Counter()
        for job in rows:
            counted.update({status.value: getattr(job, status.value) for status in Status})
        with reading(self.engine) as conn:
            assert dict(counted) == results.counts(conn, self.batch.id, 1, 6)

    def _check_poller(self):
        last = max((cursor for cursor, _ in self.seen), default=0)
        before_last = {row for row in self._poll(0) if row[0] <= last}
        assert before_last <= set(self.seen), "a row appeared at or before the poller's cursor"


RUNNING = [
    ("cancel", "finish"),
    ("finish", "cancel"),
    ("cancel", "claim"),
    ("claim", "cancel"),
    ("cancel", "retry"),
    ("retry", "cancel"),
    ("finish", "sweep"),
    ("sweep", "finish"),
    ("retry", "retry"),
    ("finish", "follow"),
]
ENDING = [("retry", "finish"), ("finish", "retry"), ("cancel", "finish"), ("finish", "cancel")]
FINISHED = [
    ("prune", "retry"),
    ("retry", "prune"),
    ("prune", "prune"),
    ("prune", "follow"),
    ("follow", "prune"),
    ("prune", "submit"),
    ("prune", "finish"),
]


def _play(settings, engine, first, second, stage):
    with closing(Interleaving(settings, ALLOWED, reads=first == "follow")) as both:
        for point in count(1):
            scene = Scene(engine, stage)
            inside = both.run(getattr(scene, first), getattr(scene, second), point)
            scene.check()
            if not inside:
                break
        assert point > 1


@pytest.mark.parametrize(("first", "second"), RUNNING, ids=map(", ".join, RUNNING))
def test_a_running_batch_ends_once(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.RUNNING)


@pytest.mark.parametrize(("first", "second"), ENDING, ids=map(", ".join, ENDING))
def test_a_batch_that_ends_ends_with_all_its_questions(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.ENDING)


@pytest.mark.parametrize(("first", "second"), FINISHED, ids=map(", ".join, FINISHED))
def test_a_finished_batch_stays_whole_or_goes_whole(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.FINISHED)
