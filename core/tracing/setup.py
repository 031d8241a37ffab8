"""Opens the tracer of a process, if the settings name a collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.settings.settings import Settings

if TYPE_CHECKING:
    from core.tracing.spans import Tracer


def open_tracer(settings: Settings, service: str, identity: str) -> Tracer | None:
    """Return a tracer for this process, or None without ANSWERMILL_TRACES_URL.

    Args:
        settings: they hold the URL of the collector.
        service: the name of this process, such as `answermill-worker`.
        identity: the identity of the database.
    """
    if settings.traces_url is None:
        return None
    # Imported here, because OpenTelemetry is an optional package.
    from core.tracing.spans import Tracer

    return Tracer(str(settings.traces_url), service, identity)
