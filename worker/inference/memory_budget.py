"""A model that spares memory: as it runs short, passes shrink, before anything dies of it.

Before each pass it is asked how much memory is left, and a pass may take no more than half of
that. How much one takes is learnt from those that were as large as passes get, how far the
process grew, by padded token; and from those that were refused. Answers do not depend on the
size of a pass. Below one question no pass can go: what that needs and is not there ends the
attempt, or the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from worker.inference import memory
from worker.inference.protocol import ModelWrapper, PassBudget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.domain.result import Answer
    from worker.inference.protocol import AnsweringModel

log = structlog.get_logger()

# What a padded token is thought to take at least: a small encoder's, and then some.
_TOKEN_BYTES = 32 << 10
_FADING = 0.9  # of what was measured, with each pass
# What a process grows by, whatever it does.
_NOISE_BYTES = 4 << 20
_MIB = 1 << 20

# To look takes up to a millisecond, which is much beside a small pass. While this many times as
# much is left as a pass takes, a look will do for a moment.
_PLENTY = 8
_EVERY_SECONDS = 0.25
_GIVE_BACK_SECONDS = 5.0  # between two times: it takes as long as a pass


class MemoryBudgetedModel(ModelWrapper):
    """A model whose passes are as large as memory allows, and no larger than it says itself."""

    def __init__(
        self,
        model: AnsweringModel,
        left: Callable[[], int | None],
        *,
        every: float = _EVERY_SECONDS,
    ) -> None:
        """Know nothing of what a pass takes yet.

        Args:
            model: what answers.
            left: tells how many bytes this process may still take; None: nobody knows.
            every: how many seconds go by, while there is plenty, before it is asked again.
        """
        super().__init__(model)
        self._left, self._short, self._every = left, False, every
        self._looked_at = self._measured_at = self._gave_back_at = float("-inf")
        self._token_bytes = float(_TOKEN_BYTES)
        self._asked = model.budget  # for the pass that comes
        self._padded = 1
        self._known: int | None = None  # how much was left before the pass

    @property
    def budget(self) -> PassBudget:
        """What it computes fastest, or less if there is no memory for that."""
        full = self._model.budget
        if self._plenty(full):
            self._asked = full
            return full
        left = self._room()
        self._asked, self._known = full, left
        if left is not None:
            affordable = max(1, int(left / 2 / self._token_bytes))
            self._asked = replace(full, tokens=min(full.tokens, affordable))
        self._tell(full, left)
        return self._asked

    def _plenty(self, full: PassBudget) -> bool:
        """Tell whether there was so much a moment ago that nobody need look."""
        fresh = time.monotonic() - self._looked_at < self._every
        known = self._known is None or self._known / _PLENTY / self._token_bytes >= full.tokens
        return fresh and known

    def _room(self) -> int | None:
        self._looked_at = time.monotonic()
        left = self._left()
        if left is None or left / 2 / self._token_bytes >= self._model.budget.tokens:
            return left
        if self._looked_at - self._gave_back_at < _GIVE_BACK_SECONDS:
            return left
        self._gave_back_at = self._looked_at
        memory.release_memory()  # what earlier passes have freed may do
        return self._left()

    def _tell(self, full: PassBudget, left: int | None) -> None:
        short = self._asked.tokens < full.tokens
        if short and not self._short and left is not None:
            log.warning("memory short", left_mb=left // _MIB, tokens=self._asked.tokens)
        if self._short and not short:
            log.info("memory suffices", tokens=full.tokens)
        self._short = short

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions)."""
        with self._heeding():
            return self._encode(tokens)

    def _encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        longest = max(len(ids) for ids in tokens)
        self._padded = max(1, longest * len(tokens))
        full = len(tokens) == self._asked.questions or self._padded + longest > self._asked.tokens
        before: int | None = None
        if full and time.monotonic() - self._measured_at > self._every:
            self._measured_at = time.monotonic()
            before = memory.reset_peak()
        embeddings = self._model.encode(tokens)
        highest = None if before is None else memory.peak_bytes()
        if highest is not None and before is not None:
            self._learn((highest - before - _NOISE_BYTES) / self._padded)
        return embeddings

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        with self._heeding():
            return self._model.decide(texts, embeddings)

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """Learn from a pass that is refused that it takes more than there was."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if memory.is_out_of_memory(error) and self._known is not None:
                self._token_bytes = max(self._token_bytes, self._known / self._padded)
            raise

    def _learn(self, token_bytes: float) -> None:
        # A pass that found freed memory at hand did not show what it took; and what it seemed
        # to take may have been a model that was loaded meanwhile.
        self._token_bytes = max(_TOKEN_BYTES, token_bytes, _FADING * self._token_bytes)
