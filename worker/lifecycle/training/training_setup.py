"""What training an encoder on a knowledge base takes, whatever it is trained to.

The phrasings, a part of them held out; the original encoder, written where it can be loaded again;
how the held out are answered with an encoder's embeddings; and how far all of it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from core.errors import ExtraMissing
from worker.lifecycle.training.encoder_accuracy import (
    Accuracy,
    Flags,
    Floats,
    Ints,
    hold_out,
    measure_accuracy,
    sample,
)

if TYPE_CHECKING:
    from worker.lifecycle.training.encoder_source import EncoderSource
    from worker.model.bundle.bundle import Entry
    from worker.model.encoder.torch_encoder import TorchEncoder

TRAINING_COST = 3  # a step of training computes forward, and backward at twice the cost

_SEED = 7
_ORIGINAL = "original"


def check_trainer() -> None:
    """Check that what trains encoders is installed.

    Raises:
        ExtraMissing: a package is not.
    """
    for package in ("sentence_transformers", "datasets", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package.replace("_", "-"), "lifecycle")


@dataclass
class TrainingSetup:
    """What the steps of a training share, and how far they are, in phrasings read."""

    source: EncoderSource
    texts: list[str]  # the phrasings, in the order of the entries
    entry_of: Ints  # (phrasings,)
    held_out: Flags  # (phrasings,)
    folder: Path
    max_tokens: int
    threads: int
    on_progress: Callable[[int, int], None]
    total: int = 0  # to be set by whoever knows the steps
    done: int = 0

    @classmethod
    def of(
        cls,
        source: EncoderSource,
        entries: Sequence[Entry],
        folder: Path,
        *,
        threads: int,
        on_progress: Callable[[int, int], None],
    ) -> Self:
        """Hold phrasings out, and write the original into the folder.

        Raises:
            EncoderInvalid: it can't be loaded.
        """
        from worker.lifecycle.training.encoder_source import write_encoder  # brings torch

        entry_of = np.repeat(np.arange(len(entries)), [len(entry.questions) for entry in entries])
        return cls(
            source=source,
            texts=[text for entry in entries for text in entry.questions],
            entry_of=entry_of,
            held_out=hold_out(entry_of, _SEED),
            folder=folder,
            max_tokens=write_encoder(source, folder / _ORIGINAL),
            threads=threads,
            on_progress=on_progress,
        )

    @cached_property
    def evaluated(self) -> Ints:
        """The places of the phrasings that encoders are judged by."""
        return sample(self.held_out)

    def some(self, places: Ints) -> list[str]:
        """Return the phrasings at these places."""
        return [self.texts[place] for place in places]

    def load(self) -> TorchEncoder:
        """Load the original."""
        from worker.lifecycle.training.encoder_source import read_pooling
        from worker.model.encoder.torch_encoder import TorchEncoder

        return TorchEncoder.load(
            self.folder / _ORIGINAL,
            self.threads,
            max_tokens=self.max_tokens,
            pooling=read_pooling(self.source),
        )

    def embed(self, encoder: TorchEncoder, texts: list[str]) -> Floats:
        """Embed phrasings."""
        from worker.model.encoder.embed import embed

        embeddings = embed(encoder, texts, lambda done, _: self.report(done))
        self.done += len(texts)
        return embeddings

    def measure(self, embeddings: Floats) -> Accuracy:
        """Judge an encoder by the embeddings of the phrasings that are judged."""
        return measure_accuracy(
            embeddings, self.entry_of[self.evaluated], self.held_out[self.evaluated]
        )

    def save(self, encoder: TorchEncoder, name: str, how: str) -> EncoderSource:
        """Write a trained encoder, named after how it came about."""
        from worker.lifecycle.training.encoder_source import write_trained

        return write_trained(encoder.model, self.source, self.folder / name, how)

    def report(self, more: int) -> None:
        """Say how far the step in work is."""
        self.on_progress(self.done + more, self.total)
