"""A model that spares memory: as it runs short, passes shrink, before anything dies of it.

Before each pass it is asked how much memory is left, and a pass may take no more than half of
that. How much one takes is learnt from those that were as large as passes get, how far the
process grew, by padded token; and from those that were refused. Answers do not depend on the
size of a pass. Below one question no pass can go: what that needs and is not there ends the
attempt, or the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from worker import memory
from worker.passes import Around, PassBudget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from db.entities import Answer
    from worker.passes import Model

log = structlog.get_logger()

# What a padded token is thought to take at least: a small encoder's, and then some.
_TOKEN_BYTES = 32 << 10
_FADING = 0.9  # of what was measured, with each pass
# What a process grows by, whatever it does.
_NOISE_BYTES = 4 << 20
_MIB = 1 << 20


class Sparing(Around):
    """A model whose passes are as large as memory allows, and no larger than it says itself."""

    def __init__(self, model: Model, left: Callable[[], int | None]) -> None:
        """Know nothing of what a pass takes yet.

        Args:
            model: what answers.
            left: tells how many bytes this process may still take; None: nobody knows.
        """
        super().__init__(model)
        self._left, self._short = left, False
        self._token_bytes = float(_TOKEN_BYTES)
        self._asked = model.budget  # for the pass that comes
        self._before: int | None = None
        self._padded, self._known = 1, left()

    @property
    def budget(self) -> PassBudget:
        """What it computes fastest, or less if there is no memory for that."""
        full, left = self._model.budget, self._room()
        self._asked, self._known = full, left
        if left is not None:
            affordable = max(1, int(left / 2 / self._token_bytes))
            self._asked = replace(full, tokens=min(full.tokens, affordable))
        self._tell(full, left)
        return self._asked

    def _room(self) -> int | None:
        left = self._left()
        if left is None or left / 2 / self._token_bytes >= self._model.budget.tokens:
            return left
        memory.give_back()  # what earlier passes have freed may do
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
        self._before = memory.forget_peak() if full else None
        return self._model.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        with self._heeding():
            answers = self._model.decide(texts, embeddings)
        highest = None if self._before is None else memory.peak()
        if highest is not None and self._before is not None:
            self._learn((highest - self._before - _NOISE_BYTES) / self._padded)
        self._before = None
        return answers

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
