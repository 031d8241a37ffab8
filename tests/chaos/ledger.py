"""The ledger of questions, their results in SQL, and those a poller saw."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from core.errors import ServiceUnavailable
from db.engine import open_engine
from db.session import reading
from db.tables import batches, jobs, questions, results
from tests.chaos.asking import Asked
from tests.chaos.simulated import VERSION, answer_of
from tests.chaos.world import ATTEMPTS

_POLL_SECONDS = 0.1


class Poller:
    """Follows the cursor of every batch all along, as any SQL client may."""

    def __init__(self, settings) -> None:
        self._engine = open_engine(settings)
        self._cursors: dict[int, int] = defaultdict(int)
        self.seen: Counter[tuple[int, int]] = Counter()
        self.final: dict[int, set[int]] = defaultdict(set)
        self.newest = time.monotonic()  # when the last new result was seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after one more look."""
        self._stop.set()
        self._thread.join()
        self.look()
        self._engine.dispose()

    def look(self) -> None:
        """Read once what is new in every batch."""
        with reading(self._engine) as conn:
            for batch in conn.scalars(sa.select(batches.c.id)).all():
                query = (
                    sa.select(results.c.position, results.c.cursor)
                    .where(results.c.batch_id == batch, results.c.cursor > self._cursors[batch])
                    .order_by(results.c.cursor)
                )
                for position, cursor in conn.execute(query).all():
                    self._cursors[batch] = cursor
                    self.seen[batch, position] += 1
                    self.final[batch].add(position)
                    self.newest = time.monotonic()

    def _run(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self.look()
            except ServiceUnavailable:
                continue


@dataclass
class Account:
    """What the checks found; each entry names a question, a job or a batch."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def settle(conn: sa.Connection, asked: list[Asked], poller: Poller) -> Account:
    """Compare every accepted question with its result."""
    account = Account()
    for batch in asked:
        _settle_batch(conn, batch, poller, account)
    over = jobs.c.failures > ATTEMPTS
    for row in conn.execute(sa.select(jobs).where(over)):
        account.wrong.append(f"job {row.id} failed {row.failures} times")
    active = sa.select(jobs).where(jobs.c.state.in_(("queued", "running")))
    account.lost += [f"job {row.id} is {row.state}" for row in conn.execute(active)]
    for (batch_id, position), times in poller.seen.items():
        if times > 1:
            account.doubled.append(f"{batch_id}/{position} seen {times} times")
    return account


def _settle_batch(conn: sa.Connection, batch: Asked, poller: Poller, account: Account) -> None:
    found = conn.execute(sa.select(batches).where(batches.c.id == batch.id)).one()
    rows = conn.execute(
        sa.select(questions.c.position, questions.c.key, questions.c.text, results)
        .join_from(
            questions,
            results,
            (results.c.batch_id == questions.c.batch_id)
            & (results.c.position == questions.c.position),
            isouter=True,
        )
        .where(questions.c.batch_id == batch.id)
    ).all()
    stored = Counter(row[1] for row in rows)
    account.lost += [f"{batch.name}: {key} not stored" for key in batch.texts if not stored[key]]
    account.doubled += [f"{batch.name}: {key} {n} times" for key, n in stored.items() if n > 1]
    for row in rows:
        name = f"{batch.name}/{row[0]}"
        if row.status is None:
            account.lost.append(f"{name} has no result")
        elif not poller.seen[batch.id, row[0]]:
            account.lost.append(f"{name} missed by the poller")
        elif problem := _problem(batch, found, row):
            account.wrong.append(f"{name} {problem}")


def _problem(batch: Asked, found: sa.Row, row: sa.Row) -> str | None:
    """Return what is wrong with a result."""
    position, key, text = row[0], row[1], row[2]
    right = ("answered", answer_of(text), VERSION)
    if batch.texts.get(key) != text or row[5] != key:
        return f"is another question: {key}"
    if row.status in ("cancelled", "expired"):
        return None if found.state == row.status else f"{row.status} in a batch {found.state}"
    if text.startswith("!raise"):
        right = (row.status, row.answer, row.model_version)
        if row.status != "failed" or "ValueError" not in row.error:
            return f"is poison and {row.status}: {row.error}"
    if (row.status, row.answer, row.model_version) != right:
        return f"{row.status}, {row.answer}, {row.error}"
    return _too_late(batch, found, row.answered_at, position)


def _too_late(batch: Asked, found: sa.Row, at: datetime, position: int) -> str | None:
    if found.deadline and at > found.deadline:
        return f"answered at {at}, after {found.deadline}"
    if batch.cancelled_at and at > batch.cancelled_at and position not in batch.running_then:
        return f"answered at {at}, cancelled at {batch.cancelled_at}"
    return None
