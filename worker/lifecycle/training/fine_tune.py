"""Fine-tuning of an encoder, kept only if accuracy improves.

A trial encoder is trained without the held-out phrasings, by the recipe in
`worker.lifecycle.training.trainer`. Its accuracy on them decides how much of the training is
kept: all, half (the mean of the weights before and after) or nothing. If it is kept, another
encoder is trained on all phrasings, and that share is applied to it.

An encoder is overconfident on the phrasings that it was tuned on. Calibrate its answers on the
held-out phrasings with the trial encoder. `FineTuneResult` has both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import TuningRefused
from worker.lifecycle.training.encoder_accuracy import Accuracy, Flags, Floats, entry_means
from worker.lifecycle.training.training_setup import TRAINING_COST, TrainingSetup, check_trainer

if TYPE_CHECKING:
    from worker.lifecycle.training.encoder_source import EncoderSource
    from worker.lifecycle.training.trainer import Recipe
    from worker.model.bundle.bundle import Entry
    from worker.model.encoder.torch_encoder import TorchEncoder

LEAST_ENTRIES = 2
LEAST_PHRASINGS = 4  # an entry, on average; fewer are too few to train and to measure with

_SHARES = (1.0, 0.5)  # of the training, to choose from; more: slower, and a more random choice
_TRIAL, _WHOLE = "trial", "tuned"


@dataclass(frozen=True)
class FineTuneResult:
    """The result of fine-tuning."""

    source: EncoderSource  # to continue with: tuned on all phrasings, or the original
    share: float  # of the training that is kept in it; 0: the original is better
    before: Accuracy
    after: Accuracy  # of the trial
    trial: EncoderSource  # tuned without the held-out phrasings
    held_out: Flags  # (phrasings,), in the order of the entries

    @property
    def helped(self) -> bool:
        """Whether the tuned encoder is the better one."""
        return self.share > 0

    def figures(self) -> dict[str, Any]:
        """Return the figures for the manifest and the version's row."""
        return {
            "share": self.share,
            "held_out": int(self.held_out.sum()),
            "before": asdict(self.before),
            "after": asdict(self.after),
        }


def check_can_tune(entries: Sequence[Entry]) -> None:
    """Check that there are enough phrasings, and a trainer is installed.

    Raises:
        TuningRefused: there are too few entries, or too few phrasings.
        ExtraMissing: a package is not installed.
    """
    if len(entries) < LEAST_ENTRIES:
        raise TuningRefused(f"there is one entry, and at least {LEAST_ENTRIES} are needed")
    phrasings = sum(len(entry.questions) for entry in entries)
    if phrasings < LEAST_PHRASINGS * len(entries):
        raise TuningRefused(
            f"there are {phrasings} phrasings of {len(entries)} entries, and at least"
            f" {LEAST_PHRASINGS} of each are needed on average"
        )
    check_trainer()


def tune_encoder(
    source: EncoderSource,
    entries: Sequence[Entry],
    folder: Path,
    *,
    threads: int,
    on_progress: Callable[[int, int], None],
    recipe: Recipe | None = None,
) -> FineTuneResult:
    """Tune an encoder to the phrasings, and return the better one of the two.

    Args:
        source: the original.
        entries: the knowledge base.
        folder: where encoders are written; the caller deletes it.
        threads: threads of torch.
        on_progress: called with the work done and the total, in phrasings embedded.
        recipe: the recipe; None: the best one measured.

    Raises:
        TuningRefused: there are too few entries, or too few phrasings.
        ExtraMissing: a package is not installed.
        EncoderInvalid: the encoder cannot be loaded.
    """
    check_can_tune(entries)
    from worker.lifecycle.training.trainer import Recipe  # imports torch

    recipe = recipe or Recipe()
    setup = TrainingSetup.of(source, entries, folder, threads=threads, on_progress=on_progress)
    known = len(setup.texts) - int(setup.held_out.sum())
    setup.total = (
        len(setup.texts)
        + len(_SHARES) * len(setup.evaluated)
        + _training_cost(recipe, known)
        + _training_cost(recipe, len(setup.texts))
    )
    result = _tune(setup, recipe)
    on_progress(setup.total, setup.total)
    return result


def _tune(setup: TrainingSetup, recipe: Recipe) -> FineTuneResult:
    from worker.lifecycle.training.trainer import mix

    original = setup.load()
    embeddings = setup.embed(original, setup.texts)
    before = setup.measure(embeddings[setup.evaluated])
    trained = _train(setup, recipe, embeddings, ~setup.held_out)
    mixed = {share: mix(original, trained, share) for share in _SHARES}
    texts = setup.select(setup.evaluated)
    after = {share: setup.measure(setup.embed(mixed[share], texts)) for share in _SHARES}
    best = max(_SHARES, key=lambda share: after[share].mean)
    result = FineTuneResult(
        setup.source,
        share=best if after[best].mean > before.mean else 0.0,
        before=before,
        after=after[best],
        trial=setup.save(mixed[best], _TRIAL, "tuned"),
        held_out=setup.held_out,
    )
    if not result.helped:
        return result
    whole = _train(setup, recipe, embeddings, np.ones_like(setup.held_out))
    return replace(result, source=setup.save(mix(original, whole, best), _WHOLE, "tuned"))


def _train(setup: TrainingSetup, recipe: Recipe, embeddings: Floats, chosen: Flags) -> TorchEncoder:
    """Train the original, whose embeddings are given, on the chosen phrasings."""
    from worker.lifecycle.training.trainer import train

    encoder, indices = setup.load(), np.flatnonzero(chosen)
    train(
        encoder,
        setup.select(indices),
        setup.entry_of[indices],
        entry_means(embeddings[indices], setup.entry_of[indices]),
        recipe=recipe,
        on_step=lambda read: setup.report(TRAINING_COST * read),
    )
    setup.done += _training_cost(recipe, len(indices))
    return encoder


def _training_cost(recipe: Recipe, phrasings: int) -> int:
    return TRAINING_COST * recipe.readings(phrasings)
