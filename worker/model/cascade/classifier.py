"""The cascade: a cheap model of a version, which answers what it is surest of without the encoder.

It is linear in the grams of a text. What it is sure enough of was settled when the version was
built (`worker.lifecycle.build.cascade`); every other question goes to the encoder. It decides
each question by itself, with no number that depends on neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from worker.model.bundle.bundle import Bundle, save_array
from worker.model.cascade.ngrams import NgramVectorizer
from worker.model.prediction import Prediction, predictions
from worker.model.retrieval.confidence import Confidence, Doubles, LogisticCurve
from worker.model.retrieval.index import Floats, Ints, largest
from worker.model.retrieval.lexicon import unseen_weight

_BLOCK = 128  # texts that are judged at once; more: more memory


@dataclass(frozen=True)
class ClassifierOutput:
    """What the cheap model says of texts: a row each, the best entries first."""

    entries: Ints  # (texts, ranks)
    phrasings: Ints  # (texts, ranks): the nearest phrasing of each entry
    scores: Floats  # (texts, ranks)
    features: Doubles  # (texts, FEATURES)


@dataclass(frozen=True)
class LinearClassifier:
    """The cheap model, before it is known how far to trust it."""

    grams: NgramVectorizer
    weights: Floats  # (grams, entries)
    bias: Floats  # (entries,)
    first: Ints  # (entries + 1,): the phrasings of entry i are first[i] to first[i + 1]
    phrasings: list[Any]  # of each entry: scipy CSR, (its phrasings, grams), their vectors

    @classmethod
    def of(
        cls,
        grams: NgramVectorizer,
        weights: Floats,
        bias: Floats,
        texts: Sequence[str],
        entry_of: Ints,
    ) -> LinearClassifier:
        """Put it together from the normalised phrasings and their entries, in ascending order."""
        first = np.searchsorted(entry_of, np.arange(len(bias) + 1))
        vectors = grams.vectors(texts)
        own = [vectors[start:end] for start, end in pairwise(first)]
        return cls(grams, weights, bias, first, own)

    def classify(self, texts: Sequence[str], ranks: int = 2) -> ClassifierOutput:
        """Return what it says of normalised texts."""
        blocks = [texts[i : i + _BLOCK] for i in range(0, len(texts), _BLOCK)] or [[]]
        found = [self._judge(block, ranks) for block in blocks]
        return ClassifierOutput(
            np.concatenate([part.entries for part in found]),
            np.concatenate([part.phrasings for part in found]),
            np.concatenate([part.scores for part in found]),
            np.concatenate([part.features for part in found]),
        )

    def _judge(self, texts: Sequence[str], ranks: int) -> ClassifierOutput:
        vectors = self.grams.vectors(texts)
        entries, scores = largest(vectors @ self.weights + self.bias, ranks)
        phrasings, similarities = self._nearest(vectors, entries)
        runner_up = scores[:, min(1, scores.shape[1] - 1)]
        squares = vectors.multiply(vectors).sum(axis=1)
        columns = [
            scores[:, 0],
            scores[:, 0] - runner_up,
            similarities[:, 0],
            np.sqrt(squares),  # how much of the text is known
            np.log1p(np.diff(vectors.indptr)),  # how much of it there is
        ]
        return ClassifierOutput(
            entries, phrasings, scores, np.stack(columns, axis=1).astype(np.float64)
        )

    def _nearest(self, vectors: Any, entries: Ints) -> tuple[Ints, Floats]:  # noqa: ANN401 - scipy is untyped
        """Return each entry's nearest phrasing, and its similarity: (texts, ranks) each.

        Only phrasings of the entries that were found are compared with: all of them would
        take as long as all else that the cheap model does, three times over.
        """
        phrasings = np.zeros(entries.shape, np.int64)
        similarities = np.full(entries.shape, np.float32(-1))  # of an entry that has no phrasing
        text = np.zeros(len(self.grams.codes), np.float32)
        for row, (start, end) in enumerate(pairwise(vectors.indptr)):
            columns = vectors.indices[start:end]
            text[columns] = vectors.data[start:end]
            for rank, entry in enumerate(entries[row]):
                found = self.phrasings[entry] @ text
                if len(found):
                    best = found.argmax()
                    phrasings[row, rank] = self.first[entry] + best
                    similarities[row, rank] = found[best]
            text[columns] = 0
        return phrasings, similarities


@dataclass(frozen=True)
class Cascade:
    """The cheap model, and from which confidence on it answers."""

    linear: LinearClassifier
    confidence: Confidence
    confidence_threshold: float

    def classify(self, texts: Sequence[str], ranks: int) -> list[Prediction]:
        """Return what the cheap model says of normalised texts, and how sure it is."""
        found = self.linear.classify(texts, ranks)
        return predictions(found, *self.confidence.chances(found.features))


def parameters(cascade: Cascade | None) -> dict[str, Any] | None:
    """Return what a manifest says of it."""
    return (
        None
        if cascade is None
        else {"cut": cascade.confidence_threshold, **asdict(cascade.confidence)}
    )


def write(folder: Path, cascade: Cascade) -> None:
    """Write its arrays into a bundle's folder."""
    grams = cascade.linear.grams
    save_array(folder, "cascade_codes", grams.codes)
    save_array(folder, "cascade_idf", grams.idf)
    save_array(folder, "cascade_weights", cascade.linear.weights)
    save_array(folder, "cascade_bias", cascade.linear.bias)


def read(bundle: Bundle, texts: Sequence[str], entry_of: Sequence[int]) -> Cascade | None:
    """Return a bundle's cascade, if it has one.

    Args:
        bundle: a verified bundle.
        texts: its phrasings, normalised.
        entry_of: the entry of each.

    Raises:
        BundleInvalid: an array of it has the wrong shape.
    """
    written = bundle.manifest.cascade
    if written is None:
        return None
    codes, entries = bundle.array("cascade_codes"), bundle.manifest.entries
    grams = NgramVectorizer(
        codes, bundle.array("cascade_idf", len(codes)), unseen_weight(len(texts))
    )
    linear = LinearClassifier.of(
        grams,
        bundle.array("cascade_weights", len(codes), entries),
        bundle.array("cascade_bias", entries),
        texts,
        np.asarray(entry_of, np.int64),
    )
    curves = {name: LogisticCurve(**written[name]) for name in ("scope", "right")}
    return Cascade(linear, Confidence(**curves), written["cut"])
