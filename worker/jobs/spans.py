"""The spans that a worker tells: each stored job with its wait, its passes and its storing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.domain.batch import Batch
    from core.tracing.spans import Tracer
    from worker.jobs.context import AnsweredJob


def record_stored(
    traces: Tracer, outcomes: Iterable[AnsweredJob], *, began: float, now: datetime
) -> None:
    """Tell where the time of these jobs went, the last of which was just stored.

    Args:
        traces: hears it.
        outcomes: of the jobs.
        began: when they began to be stored, by time.perf_counter.
        now: the time, by the database's clock.
    """
    here = time.perf_counter()

    def at(moment: float) -> datetime:
        return now - timedelta(seconds=here - moment)

    for outcome in outcomes:
        job, taken = outcome.claimed.job, at(outcome.claimed.claimed_at)
        queued = job.created_at or taken
        facts: dict[str, str | int] = {"job": job.id, "attempt": job.attempt}
        facts |= {"questions": len(outcome.answers), "model_version": outcome.model_version}
        whole = traces.part("job", job.batch_id, queued, now, facts)
        passes = at(outcome.began), at(outcome.began + outcome.seconds)
        for name, times in (
            ("wait", (queued, taken)),
            ("passes", passes),
            ("store", (at(began), now)),
        ):
            traces.part(name, job.batch_id, *times, within=whole)


def record_ended(traces: Tracer, batch: Batch, now: datetime) -> None:
    """Tell the whole of a batch that has just ended."""
    facts = {"questions": batch.question_count, "lane": batch.lane.value}
    traces.batch(batch.id, batch.created_at, now, facts)
