"""Trace spans of a worker, for each stored job and ended batch.

A stored job has a span with three parts: its wait, its passes and its storing.
Not covered: the spans of a submission: `producer.monitoring.spans`.
"""

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
    traces: Tracer, outcomes: Iterable[AnsweredJob], *, storing_since: float, now: datetime
) -> None:
    """Record the spans of jobs that were just stored.

    Args:
        traces: exports the spans.
        outcomes: of the stored jobs.
        storing_since: the start of the storing, by time.perf_counter.
        now: the database's time, at which the storing ended.
    """
    here = time.perf_counter()

    def at(moment: float) -> datetime:
        return now - timedelta(seconds=here - moment)

    for outcome in outcomes:
        job, claimed_at = outcome.claimed.job, at(outcome.claimed.claimed_at)
        queued_at = job.created_at or claimed_at
        attributes: dict[str, str | int] = {"job": job.id, "attempt": job.attempt}
        attributes |= {"questions": len(outcome.answers), "model_version": outcome.model_version}
        job_span = traces.record_part("job", job.batch_id, queued_at, now, attributes)
        passes = at(outcome.started_at), at(outcome.started_at + outcome.seconds)
        for name, times in (
            ("wait", (queued_at, claimed_at)),
            ("passes", passes),
            ("store", (at(storing_since), now)),
        ):
            traces.record_part(name, job.batch_id, *times, within=job_span)


def record_ended(traces: Tracer, batch: Batch, now: datetime) -> None:
    """Record the span of a batch that has just ended."""
    attributes = {"questions": batch.question_count, "lane": batch.lane.value}
    traces.record_batch(batch.id, batch.created_at, now, attributes)
