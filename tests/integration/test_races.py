"""Cancel, finish, retry, sweep, claim, prune and promote, each within each other.

Whatever happens between any two statements of the one: every question ends in one result, or its
batch is gone whole; what a poller saw stays; one version is in production.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing, suppress
from datetime import timedelta
from enum import Enum, auto
from itertools import count

import pytest
import sqlalchemy as sa

from core.domain.batch import BatchState, Lane
from core.domain.job import JobState
from core.domain.model_version import VersionState
from core.domain.result import Status
from core.errors import (
    BatchClosed,
    BatchUnknown,
    LeaseLost,
    ModelUnknown,
    PromotionRefused,
    SourceChanged,
)
from db import tables
from db.queries import batches, claims, jobs, model_versions, results, retries
from db.session import reading, transaction
from producer.batches.cancel import cancel
from producer.submission.append import open_batch
from stack.retention.prune import prune
from tests import factories
from tests.factories import LEASE, NOW, later, result, running_job, stored_batch
from tests.integration.interleaving import Interleaving
from worker.recovery.sweep import Sweep

ALLOWED = (LeaseLost, BatchClosed, BatchUnknown, SourceChanged, ModelUnknown, PromotionRefused)
_names = count()


RULES = {"owner": "race", "lease": LEASE, "now": later(1)}


class Lanes:
    """Redis, with room for everything."""

    def waiting(self, _lane):
        return 0

    def send(self, messages):
        pass


class Stage(Enum):
    """How far the batch has come."""

    IN_WORK = auto()
    ENDING = auto()
    FINISHED = auto()


class Scene:
    """A batch of three jobs of two questions, and what is done to it.

    The first job is done, one of its questions failed; the second is in work, at its second
    attempt; the third waits. When it is ending, the third is done; when it has finished, all
    three are, and the batch with them.
    """

    def __init__(self, engine: sa.Engine, stage: Stage) -> None:
        self.engine = engine
        self.batch = stored_batch(engine, 6, name=f"batch {next(_names)}")
        first = running_job(engine, self.batch)
        ends = factories.results_of(first)[:1]
        factories.finish(engine, first, [*ends, result(first.last_position, Status.FAILED)])
        factories.fail(engine, running_job(engine, self.batch))
        self.held = running_job(engine, self.batch)
        if stage is not Stage.IN_WORK:
            factories.finish(engine, running_job(engine, self.batch))
        if stage is Stage.FINISHED:
            self.finish(engine)
        self.seen = self._poll(0)
        self.runs_again = False

    def cancel(self, engine):
        cancel(engine, str(self.batch.id))
        with transaction(engine) as conn:  # nothing starts any more
            assert claims.claim_next(conn, Lane.BULK, room=99, limit=9, **RULES) == []

    def finish(self, engine):
        answers = factories.results_of(self.held)
        with transaction(engine) as conn:
            jobs.finish(conn, self.held, answers, now=later(2))
        self.close(engine)

    def close(self, engine):
        with transaction(engine) as conn:
            batches.close_finished(conn, later(3), self.batch.id)

    def retry(self, engine):
        again = {"limit": 50, "now": later(4)}
        with transaction(engine) as conn:
            queued = retries.retry(conn, self.batch, [Status.FAILED], **again)
        self.runs_again = bool(queued)  # committed: a prune may not take it any more

    def sweep(self, engine):
        Sweep(engine, lambda: later(100), Lanes(), 3, 100).run()

    def claim(self, engine):
        with transaction(engine) as conn:
            taken = claims.claim_next(conn, Lane.BULK, room=99, limit=9, **RULES)
        for job in taken:
            with transaction(engine) as conn:
                asked = results.of_jobs(conn, [job])[0]
                jobs.finish(conn, job, [result(p) for p, _, _ in asked], now=later(5))

    def prune(self, engine):
        prune(engine, timedelta(days=1), step=3, pause=lambda _: None)

    def submit(self, engine):
        open_batch(engine, name=self.batch.name, source="race")

    def follow(self, engine):
        cursor, found = 0, []
        while True:
            with reading(engine) as conn:
                finished = batches.find(conn, str(self.batch.id)).finished_at is not None
                page = results.page(conn, self.batch.id, after=cursor, limit=2)
            found += [row.position for row in page]
            if not page:
                break
            cursor = page[-1].cursor
        if finished:
            assert sorted(found) == list(range(1, 7)), "a follower missed some, unsaid"

    def _poll(self, after):
        with reading(self.engine) as conn:
            rows = results.page(conn, self.batch.id, after=after)
        return [(row.cursor, row.position) for row in rows]

    def settle(self):
        """Let workers end what is left."""
        for _ in range(9):
            self.sweep(self.engine)
            waiting = factories.queued_ids(self.engine, self.batch)
            for number in waiting:
                job = factories.claimed(self.engine, number, now=later(101))
                with reading(self.engine) as conn:
                    asked = results.of_jobs(conn, [job])[0]
                factories.finish(self.engine, job, [result(p) for p, _, _ in asked])
            self.close(self.engine)
            if not waiting:
                return
        raise AssertionError("it does not come to an end")

    def check(self):
        """Account for every question."""
        self.settle()
        with reading(self.engine) as conn:
            row = conn.execute(
                sa.select(tables.batches).where(tables.batches.c.id == self.batch.id)
            ).first()
        found = self._rows()
        if row is None or row.state == BatchState.PRUNED:
            assert not self.runs_again, "what was to run again is gone"
            assert found[tables.questions] == found[tables.result_rows] == []
            assert all(job.state in (JobState.DONE, JobState.DEAD) for job in found[tables.jobs])
            return
        assert row.finished_at is not None
        assert row.state in (BatchState.DONE, BatchState.CANCELLED)
        assert [one.position for one in found[tables.questions]] == list(range(1, 7))
        assert [one.position for one in found[tables.result_rows]] == list(range(1, 7))
        self._check_jobs(found[tables.jobs])
        self._check_poller()

    def _rows(self):
        found = {}
        with reading(self.engine) as conn:
            for table in (tables.questions, tables.result_rows, tables.jobs):
                order = table.c.id if table is tables.jobs else table.c.position
                query = sa.select(table).where(table.c.batch_id == self.batch.id).order_by(order)
                found[table] = conn.execute(query).all()
        return found

    def _check_jobs(self, found):
        whole = [job for job in found if job.state != JobState.SPLIT]
        assert not [job for job in whole if job.state in (JobState.QUEUED, JobState.RUNNING)]
        covered = [p for job in whole for p in range(job.first_position, job.last_position + 1)]
        assert sorted(covered) == list(range(1, 7))
        counted = Counter()
        for job in found:
            counted.update({s.value: getattr(job, s.value) for s in Status})
        with reading(self.engine) as conn:
            assert dict(counted) == results.counts(conn, self.batch.id, 1, 6)

    def _check_poller(self):
        behind = max((cursor for cursor, _ in self.seen), default=0)
        now = self._poll(0)
        kept = [one for one in now if one[0] <= behind]
        assert set(kept) <= set(self.seen), "a row came up behind the poller"


IN_WORK = [
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


@pytest.mark.parametrize(("first", "second"), IN_WORK, ids=map(", ".join, IN_WORK))
def test_a_batch_in_work_comes_to_one_end(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.IN_WORK)


@pytest.mark.parametrize(("first", "second"), ENDING, ids=map(", ".join, ENDING))
def test_a_batch_that_ends_ends_with_all_its_questions(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.ENDING)


@pytest.mark.parametrize(("first", "second"), FINISHED, ids=map(", ".join, FINISHED))
def test_a_finished_batch_stays_whole_or_goes_whole(first, second, settings, engine):
    _play(settings, engine, first, second, Stage.FINISHED)


@pytest.fixture
def shop(engine):
    """Versions 1 to 3 of a model; 2 is in production, 1 was before."""
    found = [factories.built_version(engine, digest=f"d{n}") for n in (1, 2, 3)]
    for version in found[:2]:
        with transaction(engine) as conn:
            model_versions.promote(conn, version, by="test", now=NOW)
    return found


def _moves(shop):
    first, _, third = shop
    by = {"by": "race", "now": later(1)}

    def moved(move):
        def run(engine):
            with transaction(engine) as conn:
                move(conn)

        return run

    return {
        "promote": moved(lambda conn: model_versions.promote(conn, third, **by)),
        "promote another": moved(lambda conn: model_versions.promote(conn, first, **by)),
        "roll back": moved(lambda conn: model_versions.roll_back(conn, "shop", **by)),
        "canary": moved(lambda conn: model_versions.begin_canary(conn, third, 0.1, **by)),
        "withdraw": moved(lambda conn: model_versions.withdraw_canary(conn, "shop", **by)),
    }


@pytest.mark.parametrize("second", ["promote another", "roll back", "canary"])
@pytest.mark.parametrize("first", ["promote", "canary"])
def test_one_version_is_in_production(first, second, shop, settings, engine):
    moves = _moves(shop)
    with closing(Interleaving(settings, ALLOWED)) as both:
        for point in count(1):
            inside = both.run(moves[first], moves[second], point)
            with reading(engine) as conn:
                found = Counter(version.state for version in model_versions.listed(conn, "shop"))
                last = conn.execute(
                    sa.select(tables.promotions).order_by(tables.promotions.c.id.desc())
                ).first()
                held = model_versions.active_by_state(conn, "shop")
            assert found[VersionState.PRODUCTION] == 1
            assert found[VersionState.CANARY] <= 1
            if last.kind in ("promoted", "rolled_back"):
                assert held[VersionState.PRODUCTION].version == last.version
            with suppress(*ALLOWED):
                moves["withdraw"](engine)
            if not inside:
                break
        assert point > 1
