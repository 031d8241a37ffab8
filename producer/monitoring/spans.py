"""OpenTelemetry spans of submissions, sent in the background.

Without the setting ANSWERMILL_TRACES_URL, no span is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from core.settings.settings import Settings
from core.tracing.setup import open_tracer
from db import dialect
from db.session import reading

if TYPE_CHECKING:
    from datetime import datetime

    from core.domain.batch import Batch
    from core.tracing.spans import Tracer
    from producer.connections import ProducerContext

_SERVICE = "answermill-producer"
_tracers: dict[tuple[str, sa.URL], Tracer] = {}


def record_submission(
    context: ProducerContext, batch: Batch, *, start: datetime, end: datetime, questions: int
) -> None:
    """Record that questions were stored and sent between two times."""
    if tracer := _tracer(context.engine, context.settings):
        tracer.record_part("submit", batch.id, start, end, {"questions": questions})


def identity(engine: sa.Engine) -> str:
    """Return the identity of the database, which no other database has."""
    with reading(engine) as conn:
        return dialect.database_identity(conn)


def flush() -> None:
    """Send the spans that wait, as the end of the process does."""
    for tracer in _tracers.values():
        tracer.flush()


def _tracer(engine: sa.Engine, settings: Settings) -> Tracer | None:
    url = settings.traces_url
    if url is None:
        return None
    # One tracer for each database, because each tracer starts a thread.
    key = (str(url), engine.url)
    if key not in _tracers and (tracer := open_tracer(settings, _SERVICE, identity(engine))):
        _tracers[key] = tracer
    return _tracers[key]
