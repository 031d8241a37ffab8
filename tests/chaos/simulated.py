"""A real worker process whose model is simulated: fast, and its answers derive from the text.

Run as a program it is `answermill worker` in all but the model. A text may be poison, and a
version whose digest is BROKEN fails on every text, one whose digest is HUNGRY likes passes for
which there is no memory. A file named after one of POINTS in the
folder CHAOS_TRAPS kills the first process that comes to that point, with -9; a file `clock`
there holds by how many seconds the process's wall clock is wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time
from functools import wraps
from pathlib import Path

import numpy as np

from core.domain.batch import Lane
from core.domain.model_version import ModelVersion
from core.domain.result import Answer, Status
from core.settings.load import load
from db.queries import batches, claims, jobs
from tests.chaos import poison
from worker.inference.protocol import PassBudget

VERSION = "chaos@1"
BROKEN = "broken"
HUNGRY = "hungry"
HUNGRY_BYTES = 64 << 20  # that each question of a pass wants
CLOCK = "clock"
PASS_SECONDS = 0.03
KILL_AFTER = 3  # seconds after the time limit of a job; 15 would make tests long

POINTS = ("claim", "pass", "before-commit", "after-commit", "before-ack")


def answer_of(text: str) -> str:
    """Return the model's answer to a text."""
    return "re: " + hashlib.sha256(text.encode()).hexdigest()[:24]


class Simulated:
    """The model, as `worker.inference.protocol.AnsweringModel` wants one."""

    budget = PassBudget(tokens=256, questions=4)

    def __init__(self, version: ModelVersion) -> None:
        self.version = str(version)
        self._broken = version.digest == BROKEN
        self._hungry = version.digest == HUNGRY
        if self._hungry:
            self.budget = PassBudget(tokens=4_096, questions=64)

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[ord(c) for c in text] for text in texts]

    def encode(self, tokens):
        time.sleep(PASS_SECONDS)
        trap("pass")
        if self._hungry:
            np.empty(len(tokens) * HUNGRY_BYTES, dtype=np.uint8)
        return np.zeros((len(tokens), 1), dtype=np.float32)

    def decide(self, texts, embeddings):
        assert len(texts) == len(embeddings)
        if self._broken:
            raise RuntimeError("the model is broken")
        poison.strike(texts)
        return [Answer(Status.ANSWERED, answer=answer_of(text), confidence=1.0) for text in texts]


def trap(point: str) -> None:
    """Die here if a trap is set for this point; one trap kills one process."""
    with contextlib.suppress(FileNotFoundError, KeyError):
        (Path(os.environ["CHAOS_TRAPS"]) / point).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _trap_behind(module, name: str, point: str) -> None:
    real = getattr(module, name)

    @wraps(real)
    def wrapped(*args, **kwargs):
        value = real(*args, **kwargs)
        trap(point)
        return value

    setattr(module, name, wrapped)


def _trap_before(module, name: str, point: str) -> None:
    real = getattr(module, name)

    @wraps(real)
    def wrapped(*args, **kwargs):
        if threading.current_thread().name != "sweep":  # which closes batches, too
            trap(point)
        return real(*args, **kwargs)

    setattr(module, name, wrapped)


def _let_the_clock_jump() -> None:
    file, right = Path(os.environ["CHAOS_TRAPS"]) / CLOCK, time.time

    def wrong() -> float:
        try:
            return right() + float(file.read_text() or 0)
        except FileNotFoundError:
            return right()

    time.time = wrong


def main() -> int:
    _let_the_clock_jump()  # before anything takes the function by name
    from worker.jobs.runner import JobRunner
    from worker.process import parent

    poison.limit_memory()
    parent.KILL_AFTER_SECONDS = KILL_AFTER
    _trap_behind(claims, "claim_job", "claim")
    _trap_behind(claims, "claim_next", "claim")
    _trap_behind(jobs, "finish_all", "before-commit")
    _trap_before(batches, "close_finished", "after-commit")
    _trap_behind(JobRunner, "run_message", "before-ack")
    return parent.run(load(), list(Lane), lambda _settings, version: Simulated(version))


if __name__ == "__main__":
    sys.exit(main())
