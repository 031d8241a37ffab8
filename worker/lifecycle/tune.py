"""Tuning an encoder to a knowledge base, if that helps: judged on phrasings it has not seen.

A part of the phrasings is held out, and a trial encoder trained on the rest, by the recipe in
`worker.lifecycle.training`. How the held out are answered decides what share of the training
is kept: all of it, half of it (the weights in the middle between before and after), or none.
If any, another encoder is trained on all phrasings, and as much of that kept.

The phrasings that an encoder was tuned on flatter it. Whoever calibrates answers given with
the tuned encoder must do so on the held-out phrasings with the trial encoder; `Tuned` has
both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from db.errors import ExtraMissing, TuningRefused
from worker.lifecycle.judging import (
    Accuracy,
    Flags,
    Floats,
    Ints,
    entry_means,
    hold_out,
    judge,
    sample,
)

if TYPE_CHECKING:
    from worker.lifecycle.encoders import EncoderSource
    from worker.lifecycle.training import Recipe
    from worker.model.bundle import Entry
    from worker.model.torch_encoder import TorchEncoder

LEAST_ENTRIES = 2
LEAST_PHRASINGS = 4  # an entry, on average: fewer can't be both learnt from and judged by

_SHARES = (1.0, 0.5)  # of the training, to choose from; more: longer, and chosen by chance
_SEED = 7
_ORIGINAL, _TRIAL, _WHOLE = "original", "trial", "tuned"
_TRAINING_COST = 3  # a step of training computes forward, and backward at twice the cost


@dataclass(frozen=True)
class Tuned:
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


def check_tunable(entries: Sequence[Entry]) -> None:
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


def check_trainer() -> None:
    """Check that what trains encoders is installed.

    Raises:
        ExtraMissing: a package is not.
    """
    for package in ("sentence_transformers", "datasets", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package.replace("_", "-"), "lifecycle")


def tune_encoder(
    source: EncoderSource,
    entries: Sequence[Entry],
    folder: Path,
    *,
    threads: int,
    on_progress: Callable[[int, int], None],
    recipe: Recipe | None = None,
) -> Tuned:
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
    check_tunable(entries)
    from worker.lifecycle.encoders import write_encoder  # brings torch
    from worker.lifecycle.training import Recipe

    entry_of = np.repeat(np.arange(len(entries)), [len(entry.questions) for entry in entries])
    bench = _Bench(
        source=source,
        texts=[text for entry in entries for text in entry.questions],
        entry_of=entry_of,
        held_out=hold_out(entry_of, _SEED),
        folder=folder,
        max_tokens=write_encoder(source, folder / _ORIGINAL),
        threads=threads,
        recipe=recipe or Recipe(),
        on_progress=on_progress,
    )
    tuned = _tune(bench, bench.load())
    bench.finish()
    return tuned


def _tune(bench: _Bench, original: TorchEncoder) -> Tuned:
    from worker.lifecycle.training import mix

    embeddings = bench.embed(original, bench.texts)
    before = bench.judge(embeddings[bench.judged])
    trained = bench.train(embeddings, ~bench.held_out)
    mixed = {share: mix(original, trained, share) for share in _SHARES}
    texts = [bench.texts[place] for place in bench.judged]
    after = {share: bench.judge(bench.embed(mixed[share], texts)) for share in _SHARES}
    best = max(_SHARES, key=lambda share: after[share].mean)
    tuned = Tuned(
        bench.source,
        share=best if after[best].mean > before.mean else 0.0,
        before=before,
        after=after[best],
        trial=bench.save(mixed[best], _TRIAL),
        held_out=bench.held_out,
    )
    if not tuned.helped:
        return tuned
    whole = bench.train(embeddings, np.ones_like(bench.held_out))
    return replace(tuned, source=bench.save(mix(original, whole, best), _WHOLE))


@dataclass
class _Bench:
    """What the steps of tuning share, and how far they are."""

    source: EncoderSource
    texts: list[str]
    entry_of: Ints
    held_out: Flags
    folder: Path
    max_tokens: int
    threads: int
    recipe: Recipe
    on_progress: Callable[[int, int], None]
    done: int = 0

    @cached_property
    def judged(self) -> Ints:
        """The places of the phrasings that encoders are judged by."""
        return sample(self.held_out)

    def load(self) -> TorchEncoder:
        """Load the original."""
        from worker.lifecycle.encoders import read_pooling
        from worker.model.torch_encoder import TorchEncoder

        return TorchEncoder.load(
            self.folder / _ORIGINAL,
            self.threads,
            max_tokens=self.max_tokens,
            pooling=read_pooling(self.source),
        )

    def embed(self, encoder: TorchEncoder, texts: list[str]) -> Floats:
        """Embed phrasings."""
        from worker.lifecycle.indexing import embed

        embeddings = embed(encoder, texts, lambda done, _: self._tell(done))
        self.done += len(texts)
        return embeddings

    def judge(self, embeddings: Floats) -> Accuracy:
        """Judge an encoder by the embeddings of the phrasings that are judged."""
        return judge(embeddings, self.entry_of[self.judged], self.held_out[self.judged])

    def train(self, embeddings: Floats, chosen: Flags) -> TorchEncoder:
        """Train the original, which gave the embeddings, on the chosen phrasings."""
        from worker.lifecycle.training import train

        encoder, places = self.load(), np.flatnonzero(chosen)
        train(
            encoder,
            [self.texts[place] for place in places],
            self.entry_of[places],
            entry_means(embeddings[places], self.entry_of[places]),
            recipe=self.recipe,
            on_step=lambda read: self._tell(_TRAINING_COST * read),
        )
        self.done += self._training(len(places))
        return encoder

    def save(self, encoder: TorchEncoder, name: str) -> EncoderSource:
        """Write a trained encoder."""
        from worker.lifecycle.encoders import write_trained

        return write_trained(encoder.model, self.source, self.folder / name, "tuned")

    def finish(self) -> None:
        """Say that nothing is left to do."""
        self.on_progress(self._total, self._total)

    def _tell(self, more: int) -> None:
        self.on_progress(self.done + more, self._total)

    @property
    def _total(self) -> int:
        known = len(self.texts) - int(self.held_out.sum())
        embedding = len(self.texts) + len(_SHARES) * len(self.judged)
        return embedding + self._training(known) + self._training(len(self.texts))

    def _training(self, phrasings: int) -> int:
        return _TRAINING_COST * self.recipe.readings(phrasings)
