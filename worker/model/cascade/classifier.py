"""The cascade: a linear classifier on n-grams, and its confidence.

It answers some questions without the encoder. The build fits it and sets the confidence above
which it answers (`worker.lifecycle.build.cascade`). Every other question goes to the encoder.
Each question is classified by itself, and no number depends on its neighbors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from worker.model.bundle.bundle import Bundle, save_array
from worker.model.cascade.ngrams import NgramVectorizer
from worker.model.prediction import Prediction, predictions
from worker.model.retrieval.confidence import Confidence, Doubles, LogisticCurve
from worker.model.retrieval.index import Floats, Ints, top_k
from worker.model.retrieval.lexicon import unseen_weight

_BLOCK = 128  # texts that are classified at once; higher: more memory


@dataclass(frozen=True)
class ClassifierOutput:
    """The ranking of entries for some texts, a row for each text."""

    entries: Ints  # (texts, ranks), best first
    phrasings: Ints  # (texts, ranks): the nearest phrasing of each entry
    scores: Floats  # (texts, ranks)
    features: Doubles  # (texts, FEATURES)


@dataclass(frozen=True)
class LinearClassifier:
    """The fitted classifier, without its confidence."""

    vectorizer: NgramVectorizer
    weights: Floats  # (n-grams, entries)
    bias: Floats  # (entries,)
    first: Ints  # (entries + 1,): the phrasings of entry i are first[i] to first[i + 1]
    phrasings: list[Any]  # of each entry: scipy CSR, (its phrasings, n-grams), their vectors

    @classmethod
    def of(
        cls,
        vectorizer: NgramVectorizer,
        weights: Floats,
        bias: Floats,
        texts: Sequence[str],
        entry_of: Ints,
    ) -> LinearClassifier:
        """Build a classifier from normalized phrasings in the order of entries."""
        first = np.searchsorted(entry_of, np.arange(len(bias) + 1))
        vectors = vectorizer.vectors(texts)
        by_entry = [vectors[start:end] for start, end in pairwise(first)]
        return cls(vectorizer, weights, bias, first, by_entry)

    def classify(self, texts: Sequence[str], ranks: int = 2) -> ClassifierOutput:
        """Return the best entries for normalized texts."""
        blocks = [texts[i : i + _BLOCK] for i in range(0, len(texts), _BLOCK)] or [[]]
        outputs = [self._classify_block(block, ranks) for block in blocks]
        return ClassifierOutput(
            *(
                np.concatenate([getattr(output, column.name) for output in outputs])
                for column in fields(ClassifierOutput)
            )
        )

    def _classify_block(self, texts: Sequence[str], ranks: int) -> ClassifierOutput:
        vectors = self.vectorizer.vectors(texts)
        entries, scores = top_k(vectors @ self.weights + self.bias, ranks)
        phrasings, similarities = self._nearest(vectors, entries)
        runner_up = scores[:, min(1, scores.shape[1] - 1)]
        squares = vectors.multiply(vectors).sum(axis=1)
        columns = [
            scores[:, 0],
            scores[:, 0] - runner_up,
            similarities[:, 0],
            np.sqrt(squares),  # the known part of the text
            np.log1p(np.diff(vectors.indptr)),  # the number of known n-grams
        ]
        features = np.stack(columns, axis=1).astype(np.float64)
        return ClassifierOutput(entries, phrasings, scores, features)

    def _nearest(self, vectors: Any, entries: Ints) -> tuple[Ints, Floats]:  # noqa: ANN401 - scipy is untyped
        """Return each entry's nearest phrasing and similarity: (texts, ranks).

        Only the phrasings of the given entries are compared. To compare all would take three
        times as long as the rest of the classification.
        """
        phrasings = np.zeros(entries.shape, np.int64)
        similarities = np.full(entries.shape, np.float32(-1))  # of an entry without phrasings
        text = np.zeros(len(self.vectorizer.codes), np.float32)
        for row, (start, end) in enumerate(pairwise(vectors.indptr)):
            columns = vectors.indices[start:end]
            text[columns] = vectors.data[start:end]
            for rank, entry in enumerate(entries[row]):
                cosines = self.phrasings[entry] @ text
                if len(cosines):
                    best = cosines.argmax()
                    phrasings[row, rank] = self.first[entry] + best
                    similarities[row, rank] = cosines[best]
            text[columns] = 0
        return phrasings, similarities


@dataclass(frozen=True)
class Cascade:
    """The classifier, its confidence, and the threshold for an answer."""

    linear: LinearClassifier
    confidence: Confidence
    confidence_threshold: float

    def classify(self, texts: Sequence[str], ranks: int) -> list[Prediction]:
        """Return the predictions for normalized texts."""
        output = self.linear.classify(texts, ranks)
        return predictions(output, *self.confidence.chances(output.features))


def parameters(cascade: Cascade | None) -> dict[str, Any] | None:
    """Return the parameters for a manifest, None if there is no cascade."""
    if cascade is None:
        return None
    return {"cut": cascade.confidence_threshold, **asdict(cascade.confidence)}


def write(folder: Path, cascade: Cascade) -> None:
    """Write the cascade's arrays into the folder of a bundle."""
    vectorizer = cascade.linear.vectorizer
    save_array(folder, "cascade_codes", vectorizer.codes)
    save_array(folder, "cascade_idf", vectorizer.idf)
    save_array(folder, "cascade_weights", cascade.linear.weights)
    save_array(folder, "cascade_bias", cascade.linear.bias)


def read(bundle: Bundle, texts: Sequence[str], entry_of: Sequence[int]) -> Cascade | None:
    """Return the cascade of a bundle, None if there is none.

    Args:
        bundle: a verified bundle.
        texts: its phrasings, normalized.
        entry_of: the entry of each phrasing.

    Raises:
        BundleInvalid: an array has the wrong shape.
    """
    stored = bundle.manifest.cascade
    if stored is None:
        return None
    codes, entries = bundle.array("cascade_codes"), bundle.manifest.entries
    idf = bundle.array("cascade_idf", len(codes))
    linear = LinearClassifier.of(
        NgramVectorizer(codes, idf, unseen_weight(len(texts))),
        bundle.array("cascade_weights", len(codes), entries),
        bundle.array("cascade_bias", entries),
        texts,
        np.asarray(entry_of, np.int64),
    )
    curves = {name: LogisticCurve(**stored[name]) for name in ("scope", "right")}
    return Cascade(linear, Confidence(**curves), stored["cut"])
