"""The protocol of a loaded model version, and a base for wrappers.

Not covered: an implementation: `worker.model.loaded_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.domain.result import Answer


@dataclass(frozen=True)
class PassBudget:
    """The maximum size of one pass."""

    tokens: int  # padded: longest question times questions; higher: more memory
    questions: int  # higher: questions of less similar length share a pass, so more padding


class AnsweringModel(Protocol):
    """A loaded model version."""

    @property
    def version(self) -> str:
        """The name of the version, as stored with results."""

    @property
    def budget(self) -> PassBudget:
        """The pass size that is fastest to compute."""

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, and None for the other texts."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, with the longest texts cut."""

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass, and return embeddings: (questions, dimensions)."""

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""


class ModelWrapper:
    """A base class that delegates every method to another model."""

    def __init__(self, model: AnsweringModel) -> None:
        self._model = model

    @property
    def version(self) -> str:
        """The name of the version, as stored with results."""
        return self._model.version

    @property
    def budget(self) -> PassBudget:
        """The pass size that is fastest to compute."""
        return self._model.budget

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, and None for the other texts."""
        return self._model.answer_without_encoder(texts)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, with the longest texts cut."""
        return self._model.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass, and return embeddings: (questions, dimensions)."""
        return self._model.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        return self._model.decide(texts, embeddings)
