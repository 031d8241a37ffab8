"""Use case: the results of a batch, page by page, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from core.domain.result import Status
from db.queries import batches, results
from db.session import reading

PAGE = 1_000  # results held in memory
_POLL_SECONDS = 0.25
# How long the end of a finished batch may be held back by somebody's long transaction.
_PATIENCE_SECONDS = 10.0

Page = Sequence[sa.Row[Any]]


def pages(
    engine: sa.Engine,
    batch_id: int,
    *,
    since: int = 0,
    status: Status | None = None,
    follow: bool = False,
) -> Iterator[Page]:
    """Read the results behind a cursor, in its order; no page is empty.

    With `follow`, wait for more until the batch is finished. Without, stop at what is there;
    of a finished batch that is everything, even where PostgreSQL shows the last rows late.
    """
    patience = time.monotonic() + _PATIENCE_SECONDS
    while True:
        # One snapshot: a batch that is finished in it has all of its results in it.
        with reading(engine) as conn:
            finished = batches.find(conn, str(batch_id)).finished_at is not None
            page = results.page(conn, batch_id, after=since, limit=PAGE, status=status)
            ended = not page and finished and results.all_visible(conn, batch_id)
        if page:
            yield page
            since = page[-1].cursor
            continue
        waits = follow or (finished and time.monotonic() < patience)
        if ended or not waits:
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
    """Read at most so many results behind a cursor; tell whether there will be no more.

    `confidence`: the least and the most that they may have.

    Raises:
        BatchUnknown: there is no such batch.
    """
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
        page = results.page(
            conn, batch.id, after=since, limit=limit, status=status, confidence=confidence
        )
        complete = batch.finished_at is not None and results.all_visible(conn, batch.id)
    return page, complete and len(page) < limit
