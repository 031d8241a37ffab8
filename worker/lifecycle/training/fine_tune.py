"""Tuning an encoder to a knowledge base, if that helps: judged on phrasings it has not seen.

A part of the phrasings is held out, and a trial encoder trained on the rest, by the recipe in
`worker.lifecycle.training.trainer`. How the held out are answered decides what share of the training
is kept: all of it, half of it (the weights in the middle between before and after), or none.
If any, another encoder is trained on all phrasings, and as much of that kept.

The phrasings that an encoder was tuned on flatter it. Whoever calibrates answers given with
the tuned encoder must do so on the held-out phrasings with the trial encoder; `Tuned` has
both.
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
LEAST_PHRASINGS = 4  # an entry, on average: fewer can't be both learnt from and judged by

_SHARES = (1.0, 0.5)  # of the training, to choose from; more: longer, and chosen by chance
_TRIAL, _WHOLE = "trial", "tuned"


@dataclass(frozen=True)
class FineTuneResult:
    """What tuning came to."""

    source: EncoderSource  # what to go on with: tuned on all phrasings, or the original
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
        """Return what the version's row keeps of it."""
        return {
            "share": self.share,
            "held_out": int(self.held_out.sum()),
            "before": asdict(self.before),
            "after": asdict(self.after),
        }


def check_can_tune(entries: Sequence[Entry]) -> None:
    """Check that there is enough to learn from, and the means to do it.

    Raises:
        TuningRefused: there are too few entries, or too few phrasings.
        ExtraMissing: a package is not installed.
    """
    if len(entries) < LEAST_ENTRIES:
        raise TuningRefused(f"there is one entry, and it takes {LEAST_ENTRIES}")
    phrasings = sum(len(entry.questions) for entry in entries)
    if phrasings < LEAST_PHRASINGS * len(entries):
        raise TuningRefused(
            f"there are {phrasings} phrasings of {len(entries)} entries, and it takes"
            f" {LEAST_PHRASINGS} each on average"
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
    """Tune an encoder to the phrasings, and keep the better of it and the original.

    Args:
        source: the original.
        entries: what to tune to.
        folder: where encoders are written; the caller removes it.
        threads: of torch.
        on_progress: hears what is done and what there is to do, in phrasings read.
        recipe: None is the one that measured best.

    Raises:
        TuningRefused: see `check_tunable`.
        ExtraMissing: the same.
        EncoderInvalid: the encoder can't be loaded.
    """
    check_can_tune(entries)
    from worker.lifecycle.training.trainer import Recipe  # brings torch

    recipe = recipe or Recipe()
    bench = TrainingSetup.of(source, entries, folder, threads=threads, on_progress=on_progress)
    known = len(bench.texts) - int(bench.held_out.sum())
    bench.total = (
        len(bench.texts)
        + len(_SHARES) * len(bench.evaluated)
        + _training(recipe, known)
        + _training(recipe, len(bench.texts))
    )
    tuned = _tune(bench, recipe)
    on_progress(bench.total, bench.total)
    return tuned


def _tune(bench: TrainingSetup, recipe: Recipe) -> FineTuneResult:
    from worker.lifecycle.training.trainer import mix

    original = bench.load()
    embeddings = bench.embed(original, bench.texts)
    before = bench.measure(embeddings[bench.evaluated])
    trained = _trained(bench, recipe, embeddings, ~bench.held_out)
    mixed = {share: mix(original, trained, share) for share in _SHARES}
    texts = bench.some(bench.evaluated)
    after = {share: bench.measure(bench.embed(mixed[share], texts)) for share in _SHARES}
    best = max(_SHARES, key=lambda share: after[share].mean)
    tuned = FineTuneResult(
        bench.source,
        share=best if after[best].mean > before.mean else 0.0,
        before=before,
        after=after[best],
        trial=bench.save(mixed[best], _TRIAL, "tuned"),
        held_out=bench.held_out,
    )
    if not tuned.helped:
        return tuned
    whole = _trained(bench, recipe, embeddings, np.ones_like(bench.held_out))
    return replace(tuned, source=bench.save(mix(original, whole, best), _WHOLE, "tuned"))


def _trained(
    bench: TrainingSetup, recipe: Recipe, embeddings: Floats, chosen: Flags
) -> TorchEncoder:
    """Train the original, which gave the embeddings, on the chosen phrasings."""
    from worker.lifecycle.training.trainer import train

    encoder, places = bench.load(), np.flatnonzero(chosen)
    train(
        encoder,
        bench.some(places),
        bench.entry_of[places],
        entry_means(embeddings[places], bench.entry_of[places]),
        recipe=recipe,
        on_step=lambda read: bench.report(TRAINING_COST * read),
    )
    bench.done += _training(recipe, len(places))
    return encoder


def _training(recipe: Recipe, phrasings: int) -> int:
    return TRAINING_COST * recipe.readings(phrasings)
