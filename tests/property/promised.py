"""What must hold after every step, whatever it was."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from hypothesis.stateful import RuleBasedStateMachine, invariant

from core.domain.result import Status
from db import tables
from db.queries import results
from db.session import reading
from tests.property.twin import Twin


class Promised(RuleBasedStateMachine):
    """The database next to its model, and a poller that follows the cursor."""

    def __init__(self, engine: sa.Engine):
        super().__init__()
        self.engine = engine
        self.twin = Twin(engine)
        self.model = self.twin.model
        self.final: dict[tuple[int, int], sa.Row[Any]] = {}
        self.seen: dict[int, list[int]] = {}  # by a poller, cursors of each batch

    @invariant()
    def what_is_stored_is_what_the_model_says(self):
        with reading(self.engine) as conn:
            jobs = conn.execute(sa.select(tables.jobs).order_by(tables.jobs.c.id)).all()
            batches = conn.execute(sa.select(tables.batches).order_by(tables.batches.c.id)).all()
        expected = [job.row() for _, job in sorted(self.model.jobs.items())]
        assert [_job_row(job) for job in jobs] == expected
        assert [(b.id, b.state, b.question_count, b.finished_at) for b in batches] == [
            (b.id, b.state, b.count, b.finished_at) for b in self.model.batches.values()
        ]
        assert [[job._mapping[s] for s in Status] for job in jobs] == [
            self.model.counts(job) for _, job in sorted(self.model.jobs.items())
        ]

    @invariant()
    def a_result_stays_as_it_is(self):
        with reading(self.engine) as conn:
            rows = conn.execute(sa.select(tables.results)).all()
        found = {(row.batch_id, row.position): row for row in rows}
        assert {place: row.status for place, row in found.items()} == self.model.results
        assert {place: found[place] for place in self.final} == self.final
        self.final = found

    @invariant()
    def the_jobs_cover_every_question_once(self):
        for batch in self.model.batches.values():
            covered = sorted(p for job in self.model.whole(batch) for p in job.positions)
            assert covered == list(range(1, batch.count + 1))
            if batch.finished_at is not None:
                assert all((batch.id, p) in self.model.results for p in covered)

    @invariant()
    def every_question_has_a_status(self):
        with reading(self.engine) as conn:
            rows = conn.execute(sa.select(tables.question_status)).all()
        found = {(row.batch_id, row.position): row.status for row in rows}
        assert len(found) == len(rows)
        assert found == self.model.statuses()

    def _poll(self, batch: int, limit: int) -> int:
        seen = self.seen.setdefault(batch, [])
        with reading(self.engine) as conn:
            rows = results.page(conn, batch, after=seen[-1] if seen else 0, limit=limit)
        seen += [row.cursor for row in rows]
        assert seen == sorted(set(seen))
        return len(rows)


def _job_row(job: sa.Row[Any]) -> tuple[object, ...]:
    place = job.id, job.batch_id, job.first_position, job.last_position
    return *place, job.state, job.attempt, job.failures, job.lease_until, job.sent_at
