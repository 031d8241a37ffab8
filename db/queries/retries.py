"""What failed: its classes of error, and letting it run again. None commits.

The class of an error is what stands before its first colon, as in `RuntimeError: …`; of a
question that was given up, the class of its last attempt's error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.domain.batch import Batch
from core.domain.job import JobState
from core.domain.result import Status
from db.queries import batches, results
from db.tables import jobs as j
from db.tables import result_rows as r

# As `db.queries.jobs` writes it, for people and for here.
GAVE_UP = "gave up after {failures} failed attempts: {error}"
_PREFIX = re.compile(GAVE_UP.format(failures=r"\d+", error=""))

_ENDED = (JobState.DONE, JobState.DEAD)
_ROWS = 1_000  # held at a time


def error_class(error: str | None) -> str:
    """Return the class of an error as it is stored."""
    return _PREFIX.sub("", error or "unknown", count=1).partition(":")[0]


def classes(conn: sa.Connection, batch_id: int) -> dict[str, int]:
    """Count a batch's failed questions by the class of their error, the most frequent first."""
    query = (
        _ended(sa.select(r.c.error, sa.func.count()), batch_id, [Status.FAILED])
        .group_by(r.c.error)
        .execution_options(yield_per=_ROWS)
    )
    found: Counter[str] = Counter()
    for error, questions in conn.execute(query):
        found[error_class(error)] += questions
    return dict(found.most_common())


def count(
    conn: sa.Connection, batch_id: int, statuses: Sequence[Status], only: str | None = None
) -> int:
    """Count what `retry` would run again, if it went on to the end."""
    query = _ended(sa.select(sa.func.count()), batch_id, statuses).where(_of_class(only))
    return int(conn.scalar(query) or 0)


def _ended(query: sa.Select[Any], batch_id: int, statuses: Sequence[Status]) -> sa.Select[Any]:
    """Return the query about the results of these statuses, by way of the jobs that have some."""
    return (
        query.select_from(j)
        .join(r, (r.c.batch_id == j.c.batch_id) & _within())
        .where(
            j.c.batch_id == batch_id,
            j.c.state.in_(_ENDED),
            _some(statuses),
            r.c.status.in_(statuses),
        )
    )


def _some(statuses: Sequence[Status]) -> sa.ColumnElement[bool]:
    return sum((j.c[s.value] for s in statuses), start=sa.literal(0)) > 0


def retry(
    conn: sa.Connection,
    batch: Batch,
    statuses: Sequence[Status],
    *,
    limit: int,
    now: datetime,
    since: datetime | None = None,
    only: str | None = None,
) -> int:
    """Queue again some ended jobs with results of these statuses; return how many questions.

    Jobs queued since `since` are passed over, so that whoever calls until nothing is left
    comes to an end, though some fail again in the meantime.

    Args:
        conn: the transaction.
        batch: whose questions.
        statuses: which of them.
        limit: jobs.
        now: the time.
        since: when the retrying began.
        only: of those that failed, the ones with this class of error.

    Raises:
        BatchClosed: the batch was cancelled or has expired.
    """
    batches.lock_open_or_done(conn, batch.id, "run again")
    again = sa.and_(r.c.batch_id == batch.id, r.c.status.in_(statuses), _of_class(only))
    wanted = sa.select(sa.func.count()).where(again, _within()).scalar_subquery()
    found = conn.execute(
        sa.select(j.c.id, j.c.first_position, j.c.last_position, wanted.label("wanted"))
        .where(
            j.c.batch_id == batch.id,
            j.c.state.in_(_ENDED),
            sa.true() if since is None else j.c.created_at < since,
            _some(statuses),
            wanted > 0,
        )
        .order_by(j.c.id)
        .limit(limit)
        .with_for_update(of=j)
    ).all()
    for row in found:
        first, last = row.first_position, row.last_position
        conn.execute(r.delete().where(again, r.c.position.between(first, last)))
        _queue(conn, row.id, now, results.counts(conn, batch.id, first, last))
    if found:
        batches.reopen(conn, batch.id)
    return int(sum(row.wanted for row in found))


def _queue(conn: sa.Connection, job: int, now: datetime, counts: dict[str, int]) -> None:
    anew = {"state": JobState.QUEUED, "failures": 0, "error": None, "sent_at": None}
    values = anew | {"finished_at": None, "created_at": now} | counts
    conn.execute(j.update().where(j.c.id == job).values(values))


def _within() -> sa.ColumnElement[bool]:
    return r.c.position.between(j.c.first_position, j.c.last_position)


def _of_class(name: str | None) -> sa.ColumnElement[bool]:
    if name is None:
        return sa.true()
    # Failed questions are few beside the others, and LIKE knows neither digits nor an end.
    given_up = GAVE_UP.format(failures="%", error="")
    told = name.replace("/", "//").replace("%", "/%").replace("_", "/_")
    patterns = [f"{before}{told}{behind}" for before in ("", given_up) for behind in ("", ":%")]
    return sa.or_(*(r.c.error.like(pattern, escape="/") for pattern in patterns))
