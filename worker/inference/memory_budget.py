"""A model whose passes shrink when memory runs short.

Before a pass, the available memory is read, and the pass may use at most half of it. The
memory of a padded token is learned from full passes, by the growth of the process, and from
passes that ran out of memory. Answers do not depend on the size of a pass.
Not covered: a pass of one question that does not fit into memory. It fails the attempt or
ends the process.
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

# Assumed minimum for a padded token: more than a small encoder needs. Higher: smaller passes
# when memory is short.
_TOKEN_BYTES = 32 << 10
_DECAY = 0.9  # of the learned bytes with each measured pass; higher: slower recovery from a peak
_NOISE_BYTES = 4 << 20  # growth of a process that no pass causes
_MIB = 1 << 20

# Reading the available memory takes up to a millisecond, which is much for a small pass. While
# this multiple of a full pass is available, the last reading stays valid for a moment.
_PLENTY = 8
_READ_SECONDS = 0.25
_RELEASE_SECONDS = 5.0  # minimum time between two releases; a release takes as long as a pass


class MemoryBudgetedModel(ModelWrapper):
    """A model whose pass budget also depends on the available memory."""

    def __init__(
        self,
        model: AnsweringModel,
        available: Callable[[], int | None],
        *,
        every: float = _READ_SECONDS,
    ) -> None:
        """Begin with the minimum for a padded token.

        Args:
            model: answers.
            available: returns how many bytes this process may still allocate; None: unknown.
            every: seconds between two readings while memory is plenty. Higher: less overhead,
                slower reaction.
        """
        super().__init__(model)
        self._available, self._reduced, self._every = available, False, every
        self._read_at = self._measured_at = self._released_at = float("-inf")
        self._token_bytes = float(_TOKEN_BYTES)
        self._budget = model.budget  # of the next pass
        self._padded = 1  # tokens of the last pass
        self._last_reading: int | None = None

    @property
    def budget(self) -> PassBudget:
        """The model's own budget, or a smaller one if memory is short."""
        full = self._model.budget
        if self._reading_is_valid(full):
            self._budget = full
            return full
        available = self._read_available()
        self._budget, self._last_reading = full, available
        if available is not None:
            affordable = max(1, int(available / 2 / self._token_bytes))
            self._budget = replace(full, tokens=min(full.tokens, affordable))
        self._log_change(full, available)
        return self._budget

    def _reading_is_valid(self, full: PassBudget) -> bool:
        """Return whether the last reading is recent and showed plenty of memory."""
        recent = time.monotonic() - self._read_at < self._every
        reading = self._last_reading
        plenty = reading is None or reading / _PLENTY / self._token_bytes >= full.tokens
        return recent and plenty

    def _read_available(self) -> int | None:
        self._read_at = time.monotonic()
        available = self._available()
        if available is None or available / 2 / self._token_bytes >= self._model.budget.tokens:
            return available
        if self._read_at - self._released_at < _RELEASE_SECONDS:
            return available
        self._released_at = self._read_at
        memory.release_memory()  # memory that earlier passes freed may be enough
        return self._available()

    def _log_change(self, full: PassBudget, available: int | None) -> None:
        reduced = self._budget.tokens < full.tokens
        if reduced and not self._reduced and available is not None:
            tokens = self._budget.tokens
            log.warning("pass size reduced", left_mb=available // _MIB, tokens=tokens)
        if self._reduced and not reduced:
            log.info("memory recovered", tokens=full.tokens)
        self._reduced = reduced

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass, and return embeddings: (questions, dimensions)."""
        with self._learning_from_errors():
            return self._encode(tokens)

    def _encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        longest = max(len(ids) for ids in tokens)
        self._padded = max(1, longest * len(tokens))
        budget = self._budget
        full = len(tokens) == budget.questions or self._padded + longest > budget.tokens
        before: int | None = None
        if full and time.monotonic() - self._measured_at > self._every:
            self._measured_at = time.monotonic()
            before = memory.reset_peak()
        embeddings = self._model.encode(tokens)
        peak = None if before is None else memory.peak_bytes()
        if peak is not None and before is not None:
            self._learn((peak - before - _NOISE_BYTES) / self._padded)
        return embeddings

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        with self._learning_from_errors():
            return self._model.decide(texts, embeddings)

    @contextmanager
    def _learning_from_errors(self) -> Iterator[None]:
        """Learn from a pass out of memory that it needs more than was available."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if memory.is_out_of_memory(error) and self._last_reading is not None:
                self._token_bytes = max(self._token_bytes, self._last_reading / self._padded)
            raise

    def _learn(self, token_bytes: float) -> None:
        # One pass is weak evidence: it may have reused freed memory, or a model may have been
        # loaded at the same time. So the learned value falls slowly.
        self._token_bytes = max(_TOKEN_BYTES, token_bytes, _DECAY * self._token_bytes)
