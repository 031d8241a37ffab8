"""`answermill worker` with a real model whose errors quote the question that it fails on."""

from __future__ import annotations

import sys

from core.domain.batch import Lane
from core.settings.load import load
from worker.process import parent


class Quoting:
    """A model that raises on a question with `!quote`, and quotes it."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def decide(self, texts, embeddings):
        for text in texts:
            if text.startswith("!quote"):
                raise ValueError(text)
        return self._model.decide(texts, embeddings)


def main() -> int:
    def load_quoting(settings, version):
        return Quoting(parent.load_bundle(settings, version))

    return parent.run(load(), list(Lane), load_quoting)


if __name__ == "__main__":
    sys.exit(main())
