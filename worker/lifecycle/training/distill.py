"""Distilling an encoder: a few of its layers learn to embed the phrasings as all of them do.

The layers are taken evenly from the first to the last, and trained to give the embeddings of
the whole encoder, by the recipe in `worker.lifecycle.training.trainer`. No entry is told, so unlike a
tuned encoder a distilled one isn't flattered by the answers to what it was trained on. A part
of the phrasings is held out all the same: how far its embeddings are from the original's, and
how the held out are answered, is measured on these, and where too much is lost the original
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DistillationRefused
from worker.lifecycle.training.encoder_accuracy import Accuracy
from worker.lifecycle.training.training_setup import TRAINING_COST, TrainingSetup, check_trainer

if TYPE_CHECKING:
    from worker.lifecycle.training.encoder_source import EncoderSource
    from worker.lifecycle.training.trainer import Recipe
    from worker.model.bundle.bundle import Entry

LEAST_PHRASINGS = 100  # fewer say nothing about what customers write

_MARGIN = 0.02  # of the held out that may get another entry than before, by `judging`
_DISTILLED = "distilled"


@dataclass(frozen=True)
class DistillResult:
    """What distilling came to."""

    source: EncoderSource  # what to go on with: distilled, or the original
    layers: int  # that were wanted
    of: int  # that the original has
    held_out: int  # phrasings that it was not taught
    cosine: float  # mean, of its embeddings of these and the original's
    before: Accuracy  # of the original, on the same
    after: Accuracy

    @property
    def kept(self) -> bool:
        """Whether it is good enough to go on with."""
        return self.after.mean >= self.before.mean - _MARGIN

    def figures(self) -> dict[str, Any]:
        """Return what the version's row keeps of it."""
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
    """Check that there is enough to learn from, and the means to do it.

    Raises:
        DistillingRefused: there are too few entries, or too few phrasings.
        ExtraMissing: a package is not installed.
    """
    phrasings = sum(len(entry.questions) for entry in entries)
    if len(entries) < 2 or phrasings < LEAST_PHRASINGS:  # noqa: PLR2004 - nothing to tell apart
        raise DistillationRefused(
            f"there are {phrasings} phrasings of {len(entries)} entries, and it takes"
            f" {LEAST_PHRASINGS} phrasings of 2"
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
    """Distil an encoder to so many layers on the phrasings; keep the original if that is bad.

    Args:
        source: the original.
        entries: whose phrasings it is taught on.
        layers: how many to keep, fewer than it has.
        folder: where encoders are written; the caller removes it.
        threads: of torch.
        on_progress: hears what is done and what there is to do, in phrasings read.
        recipe: None is the one that measured best.

    Raises:
        DistillingRefused: see `check_distillable`; or it has not so many layers, or none
            that can be taken out.
        ExtraMissing: a package is not installed.
        EncoderInvalid: the encoder can't be loaded.
    """
    check_can_distill(entries)
    from worker.lifecycle.training.encoder_source import few_layers  # brings torch
    from worker.lifecycle.training.trainer import Recipe, imitate

    recipe = recipe or Recipe(epochs=3.0, least_steps=200, rate=3e-4)
    bench = TrainingSetup.of(source, entries, folder, threads=threads, on_progress=on_progress)
    known = np.flatnonzero(~bench.held_out)
    original = bench.load()
    few, of = few_layers(original.model, layers, source.id)
    student = replace(original, model=few)
    cost = max(1, round(TRAINING_COST * layers / of))
    training = cost * recipe.readings(len(known))
    bench.total = len(bench.texts) + training + len(bench.evaluated)
    embeddings = bench.embed(original, bench.texts)
    imitate(
        student,
        bench.some(known),
        embeddings[known],
        on_step=lambda read: bench.report(cost * read),
        recipe=recipe,
    )
    bench.done += training
    wanted, given = embeddings[bench.evaluated], bench.embed(student, bench.some(bench.evaluated))
    asked = bench.held_out[bench.evaluated]
    came_to = DistillResult(
        source,
        layers=layers,
        of=of,
        held_out=int(bench.held_out.sum()),
        cosine=float((given * wanted)[asked].sum(axis=1).mean()),
        before=bench.measure(wanted),
        after=bench.measure(given),
    )
    if not came_to.kept:
        return came_to
    made = bench.save(student, _DISTILLED, f"{layers} of {of} layers")
    return replace(came_to, source=made)
