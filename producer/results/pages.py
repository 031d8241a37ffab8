"""Use case: read the results of a batch page by page.

Each result is read exactly once. Pages are in the order of the cursor. A finished batch is read to
its end, even if PostgreSQL makes its last rows visible late.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from core.domain.result import Status
from db.queries import batches, results
from db.session import reading

PAGE = 1_000  # results; higher: fewer queries, more memory
_POLL_SECONDS = 0.25
# How long to wait for the last rows of a finished batch. A long transaction of another session
# delays them.
_VISIBILITY_SECONDS = 10.0

Page = Sequence[sa.Row[Any]]


def pages(
    engine: sa.Engine,
    batch_id: int,
    *,
    since: int = 0,
    status: Status | None = None,
    follow: bool = False,
) -> Iterator[Page]:
    """Yield the results after a cursor in pages, none of them empty.

    With `follow`, wait for more results until the batch is finished. Without it, stop after the
    results that are stored now.
    """
    wait_until = time.monotonic() + _VISIBILITY_SECONDS
    while True:
        # One snapshot: if the batch is finished in it, the snapshot has all of its results.
        with reading(engine) as conn:
            finished = batches.find(conn, str(batch_id)).finished_at is not None
            page = results.page(conn, batch_id, after=since, limit=PAGE, status=status)
            ended = not page and finished and results.all_visible(conn, batch_id)
        if page:
            yield page
            since = page[-1].cursor
            continue
        may_wait = follow or (finished and time.monotonic() < wait_until)
        if ended or not may_wait:
            return
        time.sleep(_POLL_SECONDS)


def page_of(
    engine: sa.Engine,
    ref: str,
    *,
    since: int,
    status: Status | None,
    limit: int,
    confidence: tuple[float | None, float | None] = (None, None),
) -> tuple[Page, bool]:
    """Return up to `limit` results after a cursor, and whether they are last.

    `confidence`: the least and the greatest confidence of the results.

    Raises:
        BatchUnknown: no batch has this id or name.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        page = results.page(
            conn, batch.id, after=since, limit=limit, status=status, confidence=confidence
        )
        complete = batch.finished_at is not None and results.all_visible(conn, batch.id)
    return page, complete and len(page) < limit
