"""How a worker's parent comes back to a Redis that was away.

Celery waits two seconds longer after each attempt, up to thirty, so that after a long outage
half a minute passes before work resumes. Covers the connection that messages come by; what
children send goes over connections that are opened anew when needed.
"""

from __future__ import annotations

from typing import Any

from kombu.connection import Connection

_RETRY_SECONDS = 2.0


class SteadyConnection(Connection):
    """A connection that is tried again at a steady pace, however long it has failed."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as kombu
        """Connect, as kombu does it, at our pace."""
        pace = {"interval_start": _RETRY_SECONDS, "interval_step": 0.0}
        return super().ensure_connection(*args, **options | pace)  # type: ignore[no-untyped-call]  # kombu has no annotations
