"""The claim window: how many questions are claimed and answered together.

Questions that are answered together share transactions and passes, but an interactive
question waits for all of them. The window therefore lasts `together_seconds`, or
`calm_seconds` if no interactive job was seen for a minute. It limits the next claim to the
questions that the model answers in that time, by the speed of the last attempt.
Not covered: the claim itself: `worker.jobs.claim`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# The limit grows to at most this multiple of its initial value, however fast the model is.
# Higher: fewer transactions, more work lost with a process.
_MAX_GROWTH = 8

# Seconds without an interactive job after which none is expected. Higher: interactive questions
# after a pause wait less; the throughput of the bulk lane is lower for longer.
_CALM_AFTER_SECONDS = 60.0


class ClaimWindow:
    """The limit of the next claim, and the times of interactive jobs."""

    def __init__(
        self,
        claim_limit: int,
        *,
        together_seconds: float = 0.05,
        calm_seconds: float = 0.7,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the initial limit, and without an interactive job.

        Args:
            claim_limit: the initial limit in questions, and the lowest.
            together_seconds: the window while interactive jobs are expected, and the minimum
                time between two looks for them. Higher: fewer transactions; an interactive
                question waits longer, by up to this time.
            calm_seconds: the window while no interactive job is expected. Higher: fuller
                passes; the first interactive question waits longer, by up to this time.
            clock: the monotonic time in seconds.
        """
        self._initial_limit = self.limit = claim_limit
        self._together_seconds, self._calm_seconds = together_seconds, calm_seconds
        self._clock = clock
        self._interactive_at = self._looked_at = float("-inf")

    @property
    def seconds(self) -> float:
        """The time in which jobs that are answered together should be done."""
        calm = self._clock() - self._interactive_at > _CALM_AFTER_SECONDS
        return self._calm_seconds if calm else self._together_seconds

    def update(self, questions: int, seconds: float) -> None:
        """Set the limit by the speed of an attempt.

        Args:
            questions: answered questions; 0 if a job of the attempt failed.
            seconds: the duration of the attempt.
        """
        fitting = int(questions * self.seconds / seconds)
        self.limit = min(max(self._initial_limit, fitting), _MAX_GROWTH * self._initial_limit)

    def note_interactive(self) -> None:
        """Record that an interactive job was seen."""
        self._interactive_at = self._clock()

    def note_look(self) -> None:
        """Record a look for interactive jobs."""
        self._looked_at = self._clock()

    def looked_recently(self) -> bool:
        """Return whether the last look is newer than `together_seconds`."""
        return self._clock() - self._looked_at < self._together_seconds
