"""Spans of what a producer does, if they are wanted; sent in the background."""

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

_SERVICE = "answermill-producer"
_opened: dict[tuple[str, sa.URL], Tracer] = {}


def record_submission(
    engine: sa.Engine,
    settings: Settings,
    batch: Batch,
    *,
    start: datetime,
    end: datetime,
    questions: int,
) -> None:
    """Tell that so many questions of the batch were stored and sent between these times."""
    if traces := _traces(engine, settings):
        traces.part("submit", batch.id, start, end, {"questions": questions})


def identity(engine: sa.Engine) -> str:
    """Return what tells the database from every other."""
    with reading(engine) as conn:
        return dialect.database_identity(conn)


def flush() -> None:
    """Send what waits; the end of the process does so, too."""
    for traces in _opened.values():
        traces.flush()


def _traces(engine: sa.Engine, settings: Settings) -> Tracer | None:
    url = settings.traces_url
    if url is None:
        return None
    # One for each database: opening it starts a thread.
    key = (str(url), engine.url)
    if key not in _opened and (made := open_tracer(settings, _SERVICE, identity(engine))):
        _opened[key] = made
    return _opened[key]
