"""Distillation: some layers of an encoder learn to embed as all of them.

The layers are chosen evenly from the first to the last, and trained on the phrasings to return
the embeddings of the whole encoder, by the recipe in `worker.lifecycle.training.trainer`.
Training sees no entries, so unlike a tuned encoder a distilled one is not overconfident on its
training texts. Some phrasings are held out all the same, to measure the distance of its
embeddings from the original's, and accuracy. If too much accuracy is lost, the original is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DistillationRefused
from worker.lifecycle.training.encoder_accuracy import Accuracy, Floats
from worker.lifecycle.training.training_setup import TRAINING_COST, TrainingSetup, check_trainer

if TYPE_CHECKING:
    from worker.lifecycle.training.encoder_source import EncoderSource
    from worker.lifecycle.training.trainer import Recipe
    from worker.model.bundle.bundle import Entry
    from worker.model.encoder.torch_encoder import TorchEncoder

LEAST_ENTRIES = 2  # accuracy on one entry is always 1
LEAST_PHRASINGS = 100  # fewer do not represent the questions of customers

_MARGIN = 0.02  # of accuracy that may be lost
_DISTILLED = "distilled"


@dataclass(frozen=True)
class DistillResult:
    """The result of distillation."""

    source: EncoderSource  # to continue with: distilled, or the original
    layers: int  # requested
    of: int  # of the original
    held_out: int  # phrasings
    cosine: float  # mean over these, of its embeddings with the original's
    before: Accuracy  # of the original
    after: Accuracy

    @property
    def kept(self) -> bool:
        """Whether the distilled encoder is accurate enough to continue with."""
        return self.after.mean >= self.before.mean - _MARGIN

    def figures(self) -> dict[str, Any]:
        """Return the figures for the version's row."""
        return {
            "layers": self.layers,
            "of": self.of,
            "kept": self.kept,
            "held_out": self.held_out,
            "cosine": round(self.cosine, 4),
            "before": asdict(self.before),
            "after": asdict(self.after),
        }


def check_can_distill(entries: Sequence[Entry]) -> None:
    """Check that there are enough phrasings, and a trainer is installed.

    Raises:
        DistillationRefused: there are too few entries, or too few phrasings.
        ExtraMissing: a package is not installed.
    """
    phrasings = sum(len(entry.questions) for entry in entries)
    if len(entries) < LEAST_ENTRIES or phrasings < LEAST_PHRASINGS:
        raise DistillationRefused(
            f"there are {phrasings} phrasings of {len(entries)} entries, and at least"
            f" {LEAST_PHRASINGS} phrasings of {LEAST_ENTRIES} entries are needed"
        )
    check_trainer()


def distill_encoder(
    source: EncoderSource,
    entries: Sequence[Entry],
    layers: int,
    folder: Path,
    *,
    threads: int,
    on_progress: Callable[[int, int], None],
    recipe: Recipe | None = None,
) -> DistillResult:
    """Distill an encoder to some of its layers, if that is accurate enough.

    Args:
        source: the original.
        entries: the knowledge base, whose phrasings are the training texts.
        layers: how many to keep, fewer than the original has.
        folder: where encoders are written; the caller deletes it.
        threads: threads of torch.
        on_progress: called with the work done and the total, in phrasings embedded.
        recipe: the recipe; None: the best one measured.

    Raises:
        DistillationRefused: there are too few entries or phrasings, or the encoder does not
            have more layers than requested.
        ExtraMissing: a package is not installed.
        EncoderInvalid: the encoder cannot be loaded, or its layers cannot be removed.
    """
    check_can_distill(entries)
    from worker.lifecycle.training.encoder_source import few_layers  # imports torch
    from worker.lifecycle.training.trainer import Recipe

    recipe = recipe or Recipe(epochs=3.0, least_steps=200, rate=3e-4)
    setup = TrainingSetup.of(source, entries, folder, threads=threads, on_progress=on_progress)
    original = setup.load()
    student_model, of = few_layers(original.model, layers, source.id)
    student = replace(original, model=student_model)
    step_cost = max(1, round(TRAINING_COST * layers / of))
    embeddings = _teach(setup, original, student, recipe, step_cost)
    result = _measure(setup, student, embeddings, layers, of)
    if not result.kept:
        return result
    distilled = setup.save(student, _DISTILLED, f"{layers} of {of} layers")
    return replace(result, source=distilled)


def _teach(
    setup: TrainingSetup,
    original: TorchEncoder,
    student: TorchEncoder,
    recipe: Recipe,
    step_cost: int,
) -> Floats:
    """Train the student on the original's embeddings, and return these.

    The cost of a step is that of embedding its phrasings with the original, times `step_cost`.
    """
    from worker.lifecycle.training.trainer import imitate

    known = np.flatnonzero(~setup.held_out)
    training = step_cost * recipe.readings(len(known))
    setup.total = len(setup.texts) + training + len(setup.evaluated)
    embeddings = setup.embed(original, setup.texts)
    imitate(
        student,
        setup.select(known),
        embeddings[known],
        on_step=lambda read: setup.report(step_cost * read),
        recipe=recipe,
    )
    setup.done += training
    return embeddings


def _measure(
    setup: TrainingSetup, student: TorchEncoder, embeddings: Floats, layers: int, of: int
) -> DistillResult:
    expected = embeddings[setup.evaluated]
    embedded = setup.embed(student, setup.select(setup.evaluated))
    held_out = setup.held_out[setup.evaluated]
    return DistillResult(
        setup.source,
        layers=layers,
        of=of,
        held_out=int(setup.held_out.sum()),
        cosine=float((embedded * expected)[held_out].sum(axis=1).mean()),
        before=setup.measure(expected),
        after=setup.measure(embedded),
    )
