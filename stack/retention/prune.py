"""Use case: delete old finished batches in small steps.

Each step is one transaction, followed by a pause of the same length. After an interruption, the
next run continues. Not covered: concurrent changes of the same batches, which
`db.queries.retention` describes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from db.clock import DatabaseClock
from db.queries import retention
from db.queries.retention import PrunableAmount, PrunableBatch
from db.session import reading, transaction

# Questions of one step: what is locked until it ends. A step of them takes some hundredths of a
# second (docs/log.md).
STEP = 1_000
_BATCHES = 500  # looked up at once, and of one step
_PARTS = 8  # of a file, 1 MiB each, of one step
# An upload is written to the database after it was received whole: long before this.
_UPLOAD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The amount that was deleted, or would be."""

    before: datetime  # batches that finished before it
    amount: PrunableAmount
    dry_run: bool = False

    def document(self) -> dict[str, Any]:
        """Return the document of `db prune --json`."""
        counts = {"batches": self.amount.batches, "questions": self.amount.questions}
        counts |= {"files": self.amount.files}
        return {"before": self.before, **counts, "dry_run": self.dry_run}


def count_prunable(engine: sa.Engine, age: timedelta) -> PruneResult:
    """Count the rows that `prune` would delete."""
    now = DatabaseClock(engine)()
    before = now - age
    with reading(engine) as conn:
        return PruneResult(before, retention.amount(conn, before, now - _UPLOAD), dry_run=True)


def prune(
    engine: sa.Engine,
    age: timedelta,
    *,
    on_progress: Callable[[PrunableAmount, PrunableAmount], None] = lambda *_: None,
    step: int = STEP,
    pause: Callable[[float], None] = time.sleep,
) -> PruneResult:
    """Delete batches and unreferenced files older than an age.

    Args:
        engine: the database.
        age: minimum time since a batch finished.
        on_progress: called with the deleted and the total amount.
        step: questions of one transaction.
        pause: called with the seconds that a step took.

    Raises:
        DatabaseUnavailable: deleted rows stay deleted; the same call continues.
    """
    run = _Run(engine, count_prunable(engine, age), on_progress, step, pause)
    run.batches()
    run.files()
    return replace(run.wanted, amount=run.done, dry_run=False)


class _Run:
    def __init__(
        self,
        engine: sa.Engine,
        wanted: PruneResult,
        on_progress: Callable[[PrunableAmount, PrunableAmount], None],
        step: int,
        pause: Callable[[float], None],
    ) -> None:
        self.wanted, self.done = wanted, PrunableAmount(0, 0, 0)
        self._engine, self._on_progress, self._step, self._pause = engine, on_progress, step, pause

    def batches(self) -> None:
        with reading(self._engine) as conn:
            begun = retention.begun(conn)
        for batch in begun:
            self._go_on(batch)
        after = 0
        while found := self._next(after):
            after = found[-1].id
            for group in _groups(found, self._step):
                self._prune(group)

    def _next(self, after: int) -> list[PrunableBatch]:
        with reading(self._engine) as conn:
            return retention.finished(conn, self.wanted.before, after=after, limit=_BATCHES)

    def _prune(self, group: list[PrunableBatch]) -> None:
        small = sum(batch.questions for batch in group) <= self._step
        with self._stepping() as conn:
            marked = set(retention.mark(conn, [batch.id for batch in group], self.wanted.before))
            if small and marked:
                retention.delete(conn, sorted(marked))
        ours = [batch for batch in group if batch.id in marked]
        if small:
            self._count(batches=len(ours), questions=sum(batch.questions for batch in ours))
            return
        for batch in ours:
            self._go_on(batch)

    def _go_on(self, batch: PrunableBatch) -> None:
        """Delete a marked batch, from where an earlier prune has left off."""
        with reading(self._engine) as conn:
            first = retention.first_position(conn, batch.id) or batch.questions + 1
        self._count(questions=first - 1)
        for start in range(first, batch.questions + 1, self._step):
            last = min(start + self._step - 1, batch.questions)
            with self._stepping() as conn:
                if not retention.delete_range(conn, batch.id, start, last):
                    return
            self._count(questions=last - start + 1)
        with self._stepping() as conn:
            retention.delete(conn, [batch.id])
        self._count(batches=1 if batch.questions else 0)

    def files(self) -> None:
        before = self.wanted.before
        uploaded = DatabaseClock(self._engine)() - _UPLOAD
        with reading(self._engine) as conn:
            useless = retention.unreferenced_files(conn, before, uploaded)
        for file in useless:
            with self._stepping() as conn:
                gone = not retention.hide_file(conn, file, before, uploaded)
            if gone:  # or of use again
                continue
            while not gone:
                with self._stepping() as conn:
                    gone = retention.delete_parts(conn, file, _PARTS)
            self._count(files=1)

    @contextmanager
    def _stepping(self) -> Iterator[sa.Connection]:
        started = time.perf_counter()
        with transaction(self._engine) as conn:
            yield conn
        self._pause(time.perf_counter() - started)

    def _count(self, *, batches: int = 0, questions: int = 0, files: int = 0) -> None:
        done = self.done
        self.done = PrunableAmount(
            done.batches + batches, done.questions + questions, done.files + files
        )
        self._on_progress(self.done, self.wanted.amount)


def _groups(found: list[PrunableBatch], size: int) -> Iterator[list[PrunableBatch]]:
    """Put small batches together, up to so many questions."""
    group: list[PrunableBatch] = []
    for batch in found:
        if group and sum(one.questions for one in group) + batch.questions > size:
            yield group
            group = []
        group.append(batch)
    if group:
        yield group
