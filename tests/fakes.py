"""Fakes for the edges of a worker: a model, a clock and the queue of messages.

Not covered: Redis and databases, which are real in tests (`services.py`). The model keeps the
contract of `tests/unit/worker/inference/test_protocol.py`, as a real model does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.domain.batch import Lane
from core.domain.result import Answer, Status
from core.messages import AnswerJob
from worker.inference.protocol import PassBudget

T = TypeVar("T")

POISON = "poison"  # the text at which the model raises


def echo(text: str) -> Answer:
    """Answer a text with itself."""
    return Answer(Status.ANSWERED, answer=text)


class FakeModel:
    """A model that echoes texts, records its work and raises at POISON.

    Its embeddings depend on the texts, so that it notices an embedding of another text.
    """

    def __init__(
        self,
        version: str = "echo@1",
        *,
        budget: PassBudget | None = None,
        answer: Callable[[str], Answer] = echo,
        known: Mapping[str, Answer] | None = None,
        at: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """Make a model.

        Args:
            version: the name of the version.
            budget: of a pass; 64 tokens and 8 questions unless given.
            answer: returns the answer to a text in a pass.
            known: answers that need no pass, by text.
            at: functions that are called when their text is decided.
        """
        self.version = version
        self.budget = budget or PassBudget(tokens=64, questions=8)
        self.known, self.at = dict(known or {}), dict(at or {})
        self.tokenized: list[str] = []
        self.passes: list[int] = []  # the number of questions in each
        self.decided: list[list[str]] = []  # the texts that were decided together
        self._answer = answer

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        return [self.known.get(text) for text in texts]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        self.tokenized += texts
        return [self.tokens_of(text) for text in texts]

    def tokens_of(self, text: str) -> list[int]:
        """Return a token for each character."""
        return [ord(char) for char in text]

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.passes.append(len(tokens))
        return np.array([[_embedding(ids)] for ids in tokens], np.float32)

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        assert embeddings[:, 0].tolist() == [_embedding(self.tokens_of(text)) for text in texts]
        self.decided.append(list(texts))
        for text in texts:
            self.at.get(text, lambda: None)()
        if POISON in texts:
            raise ValueError(POISON)
        return [self._answer(text) for text in texts]


def _embedding(ids: Sequence[int]) -> int:
    return hash(tuple(ids)) % 1_000


@dataclass
class FakeClock(Generic[T]):
    """A clock that stands still until the test sets `now`."""

    now: T

    def __call__(self) -> T:
        return self.now


@dataclass
class FakeQueue:
    """Redis as a list for each lane."""

    lanes: dict[Lane, list[AnswerJob]] = field(default_factory=lambda: {x: [] for x in Lane})

    def waiting(self, lane: Lane) -> int:
        return len(self.lanes[lane])

    def send(self, messages: Sequence[AnswerJob]) -> None:
        for message in messages:
            self.lanes[message.lane].append(message)
