"""Traces, if they are wanted: where the time of each batch went, from submission to results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.settings.settings import Settings

if TYPE_CHECKING:
    from core.tracing.spans import Tracer


def open_tracer(settings: Settings, service: str, identity: str) -> Tracer | None:
    """Return what tells this process's spans; None when nobody wants them.

    Args:
        settings: where they go.
        service: what this process is, such as `answermill-worker`.
        identity: the database's.
    """
    if settings.traces_url is None:
        return None
    from core.tracing.spans import Tracer

    return Tracer(str(settings.traces_url), service, identity)
