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

from tests.fakes import FakeModel, echo
from worker.inference import memory
from worker.inference.memory_budget import MemoryBudgetedModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget

_FLOATS = 1 << 20


class Hungry(FakeModel):
    """A model whose full passes are 64 questions and take half a gibibyte."""

    def __init__(self) -> None:
        budget = PassBudget(tokens=64 * 4, questions=64)
        super().__init__("hungry@1", budget=budget, answer=lambda text: echo(text[::-1]))
        self.refused = 0

    def tokens_of(self, text: str) -> list[int]:  # noqa: ARG002 - all passes have one size
        return [1] * 4

    def encode(self, tokens):
        try:
            np.ones((len(tokens), _FLOATS))
        except MemoryError:
            self.refused += 1
            raise
        return super().encode(tokens)


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
