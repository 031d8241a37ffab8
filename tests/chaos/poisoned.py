"""`answermill worker` with a real model that some questions hurt: they are poison."""

from __future__ import annotations

import sys

from core.domain.batch import Lane
from core.settings.load import load
from tests.chaos import poison
from worker.process import parent


class Poisoned:
    """A model that computes a pass, and suffers before it returns the answers."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def decide(self, texts, embeddings):
        poison.strike(texts)
        return self._model.decide(texts, embeddings)


def main() -> int:
    def load_poisoned(settings, version):
        return Poisoned(parent.load_bundle(settings, version))

    return parent.run(load(), list(Lane), load_poisoned)


if __name__ == "__main__":
    sys.exit(main())
