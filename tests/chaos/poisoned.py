"""`answermill worker` with a real model that some questions hurt: they are poison."""

from __future__ import annotations

import sys

from db.config import load
from db.entities import Lane
from tests.chaos import poison


class Poisoned:
    """A model that computes a pass, and suffers before it tells the answers."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def decide(self, texts, embeddings):
        poison.strike(texts)
        return self._model.decide(texts, embeddings)


def main() -> int:
    from worker import app
    from worker.model import registry

    real = registry.load_version
    registry.load_version = lambda settings, version: Poisoned(real(settings, version))
    return app.run(load(), list(Lane))


if __name__ == "__main__":
    sys.exit(main())
