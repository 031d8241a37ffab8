"""A program that answers under a real limit of its memory; each question takes 8 MiB in its pass.

    hungry.py MEBIBYTES sparing|plain

The limit is the size of the process at the start plus MEBIBYTES. The output states whether every
answer was right, the size of the largest pass, and how often memory was refused.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import numpy as np

from core.domain.result import Answer, Status
from worker.inference import memory
from worker.inference.memory_budget import MemoryBudgetedModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget

_FLOATS = 1 << 20


class Hungry:
    """A model whose passes are 64 questions and take half a gibibyte, if they may."""

    version = "hungry@1"
    budget = PassBudget(tokens=64 * 4, questions=64)

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.refused = 0

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[1] * 4 for _ in texts]

    def encode(self, tokens):
        try:
            held = np.ones((len(tokens), _FLOATS))
        except MemoryError:
            self.refused += 1
            raise
        self.passes.append(len(tokens))
        return held[:, :1].astype(np.float32)

    def decide(self, texts, embeddings):
        assert len(texts) == len(embeddings)
        return [Answer(Status.ANSWERED, answer=text[::-1]) for text in texts]


def main(mebibytes: int, kind: str) -> None:
    model = Hungry()
    asked = (
        MemoryBudgetedModel(model, memory.available_bytes, every=0) if kind == "sparing" else model
    )
    answer_texts(asked, [f"warm {n}" for n in range(64)])  # it learns what a pass takes
    model.passes.clear()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    texts = [f"question {n}" for n in range(128)]
    answers = answer_texts(asked, texts)
    right = [answer.answer for answer in answers] == [text[::-1] for text in texts]
    report = {"right": right, "largest": max(model.passes), "refused": model.refused}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
