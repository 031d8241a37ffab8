"""The common parts of fine-tuning and distillation, and their progress.

These are the phrasings, some of which are held out, the original encoder, written so that it
can be loaded several times, and the accuracy of an encoder's embeddings on the held-out
phrasings. Not covered: the training itself (`worker.lifecycle.training.trainer`).
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

TRAINING_COST = 3  # of a step against embedding: backward costs twice as much as forward

_SEED = 7
_ORIGINAL = "original"


def check_trainer() -> None:
    """Check that the packages that train encoders are installed.

    Raises:
        ExtraMissing: a package is not.
    """
    for package in ("sentence_transformers", "datasets", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package.replace("_", "-"), "lifecycle")


@dataclass
class TrainingSetup:
    """The state that the steps of a training share. Progress counts phrasings."""

    source: EncoderSource
    texts: list[str]  # the phrasings, in the order of the entries
    entry_of: Ints  # (phrasings,)
    held_out: Flags  # (phrasings,)
    folder: Path
    max_tokens: int
    threads: int
    on_progress: Callable[[int, int], None]
    total: int = 0  # set by the caller, which knows the steps
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
        """Choose the held-out phrasings, and write the original into the folder.

        Raises:
            EncoderInvalid: it cannot be loaded.
        """
        from worker.lifecycle.training.encoder_source import write_encoder  # imports torch

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
        """The indices of the phrasings that accuracy is measured with."""
        return sample(self.held_out)

    def select(self, indices: Ints) -> list[str]:
        """Return the phrasings with these indices."""
        return [self.texts[i] for i in indices]

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
        """Return the accuracy for the embeddings of the evaluated phrasings."""
        return measure_accuracy(
            embeddings, self.entry_of[self.evaluated], self.held_out[self.evaluated]
        )

    def save(self, encoder: TorchEncoder, name: str, description: str) -> EncoderSource:
        """Write a trained encoder, whose id ends with the description."""
        from worker.lifecycle.training.encoder_source import write_trained

        return write_trained(encoder.model, self.source, self.folder / name, description)

    def report(self, more: int) -> None:
        """Report progress, with that many more phrasings of the running step."""
        self.on_progress(self.done + more, self.total)
