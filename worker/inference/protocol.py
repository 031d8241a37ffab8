"""CAPTION worker.inference.protocol."""

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
    """How much goes into one pass."""

    tokens: int  # padded ones: longest question times count. More: more memory
    questions: int  # more: questions of less like length are padded to one


class AnsweringModel(Protocol):
    """A loaded model version."""

    @property
    def version(self) -> str:
        """What results name it by."""

    @property
    def budget(self) -> PassBudget:
        """What it computes fastest."""

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions)."""

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""


class ModelWrapper:
    """A model around another one: does as that one does, but for what a kind of it does more."""

    def __init__(self, model: AnsweringModel) -> None:
        self._model = model

    @property
    def version(self) -> str:
        """What results name it by."""
        return self._model.version

    @property
    def budget(self) -> PassBudget:
        """What it computes fastest."""
        return self._model.budget

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""
        return self._model.answer_without_encoder(texts)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""
        return self._model.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions)."""
        return self._model.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        return self._model.decide(texts, embeddings)
