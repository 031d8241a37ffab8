"""A real worker with a stand-in for the model.

The stand-in answers at once, or sleeps a given number of seconds for a full job.
Not covered: a real model (`_models.py`).

    python benchmarks/_worker.py SECONDS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from core.domain.batch import Lane
from core.domain.model_version import ModelVersion
from core.domain.result import Answer, Status
from core.settings.load import load
from core.settings.settings import Settings
from worker.inference.protocol import PassBudget
from worker.process.parent import run

_FULL = 128  # questions
_ALL = PassBudget(tokens=1 << 20, questions=1 << 20)
_ANSWER = Answer(
    Status.ANSWERED,
    answer="Open “My orders” and choose the parcel: the map shows where it is.",
    entry_id="track",
    matched="Where is my order?",
    confidence=0.97,
)


@dataclass(frozen=True)
class AtOnce:
    """A model that gives every question the same answer."""

    version: str
    seconds: float  # of a full job
    budget: PassBudget = _ALL

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        return [None] * len(texts)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return one token a text."""
        return [[1]] * len(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Sleep in proportion to the number of questions."""
        if self.seconds:
            time.sleep(self.seconds * len(tokens) / _FULL)
        return np.zeros((len(tokens), 1), dtype=np.float32)

    def decide(self, texts: Sequence[str], _: NDArray[np.float32]) -> list[Answer]:
        """Return the same answer for every text."""
        return [_ANSWER] * len(texts)


def _at_once(seconds: float, _: Settings, version: ModelVersion) -> AtOnce:
    return AtOnce(str(version), seconds)


if __name__ == "__main__":
    sys.exit(run(load(), list(Lane), partial(_at_once, float(sys.argv[1]))))
