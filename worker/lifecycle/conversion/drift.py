"""The drift of a converted encoder from the original, on real questions.

Two figures are compared: embeddings (cosine), and the entry of the nearest known phrasing, for
which a phrasing itself is left out. If the two nearest entries are about equally near, the
least noise decides between them, and such questions are handed off or guessed anyway. Changed
answers are therefore counted only where the original's nearest entry leads clearly. The
original's index is used for both. Not covered: the vote, spelling and thresholds, which `model
diff` and `model evaluate` compare for whole versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import SourceInvalid
from worker.lifecycle.inputs import question_source
from worker.lifecycle.inputs.labelled_questions import is_labelled, read_labelled
from worker.model.encoder.base import Precision

if TYPE_CHECKING:
    from pathlib import Path

    from worker.model.bundle.bundle import Bundle, Entry

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

MOST_PHRASINGS = 1_000  # of a sample; higher: finer figures, a longer check

# Cosine by which a clear answer leads the next entry. int8 changes leads below this.
CLEAR_LEAD = 0.02

_LEFT_OUT = -2.0  # less than any cosine
_NOT_A_PHRASING = -1
_BLOCK = 256  # rows of similarities in memory at once
_DECIMALS = 6


@dataclass(frozen=True)
class DriftLimits:
    """The drift that a conversion may have.

    One clear answer may always change, so that a sample may be small.
    """

    cosine_least: float
    cosine_p1: float  # the first percentile
    changed: float  # share of the clear answers


# Measured, with headroom: docs/log.md.
LIMITS = {
    Precision.FP32: DriftLimits(cosine_least=0.9999, cosine_p1=0.9999, changed=0.0),
    Precision.BF16: DriftLimits(cosine_least=0.995, cosine_p1=0.999, changed=0.02),
    Precision.INT8: DriftLimits(cosine_least=0.85, cosine_p1=0.95, changed=0.02),
}


@dataclass(frozen=True)
class DriftSample:
    """The questions that encoders are compared on."""

    title: str  # for display
    texts: list[str]
    phrasing_of: Ints  # (questions,): index of the phrasing that it is, or -1
    expected: list[frozenset[int]] | None  # right entries of each question, None if not known


@dataclass(frozen=True)
class KnownEmbeddings:
    """The original's embeddings of the phrasings."""

    embeddings: Floats  # (phrasings, dimensions), rows of length 1, in the order of the entries
    starts: Ints  # (entries,): the first phrasing of each entry


@dataclass(frozen=True)
class Drift:
    """The measured drift, with accuracies if the right entries are known."""

    questions: int
    cosine_mean: float
    cosine_p1: float
    cosine_least: float
    clear: int  # questions to which the original has a clear answer
    changed: float  # share of these that the converted encoder answers otherwise
    accuracy_before: float | None  # of the nearest phrasing's entry, clear or not
    accuracy_after: float | None

    def beyond(self, limits: DriftLimits) -> list[str]:
        """Return a message for each limit that is exceeded."""
        cosines = (
            ("least cosine", self.cosine_least, limits.cosine_least),
            ("1st percentile of the cosine", self.cosine_p1, limits.cosine_p1),
        )
        messages = [
            f"the {name} is {cosine:.4f}, below the limit of {least}"
            for name, cosine, least in cosines
            if not cosine >= least  # true for NaN as well
        ]
        if round(self.changed * self.clear) > max(1, limits.changed * self.clear):
            messages.append(
                f"{self.changed:.1%} of the clear answers change,"
                f" above the limit of {limits.changed:.1%}"
            )
        return messages


def sample_phrasings(entries: Sequence[Entry]) -> DriftSample:
    """Return a sample of evenly spread phrasings and the longest one."""
    texts = [text for entry in entries for text in entry.questions]
    entry_of = [i for i, entry in enumerate(entries) for _ in entry.questions]
    spread = np.linspace(0, len(texts) - 1, min(MOST_PHRASINGS, len(texts))).astype(np.int64)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    chosen = np.unique(np.append(spread, longest))
    expected = [frozenset({entry_of[i]}) for i in chosen]
    return DriftSample("phrasings of its own", [texts[i] for i in chosen], chosen, expected)


def read_sample(path: Path, entries: Sequence[Entry]) -> DriftSample:
    """Return all questions of a CSV, labelled if it has a column `expected`.

    Raises:
        SourceInvalid: it cannot be read, or has no column `question`, or no question.
    """
    if is_labelled(path):
        number = {entry.id: i for i, entry in enumerate(entries)}
        labelled = read_labelled(path, frozenset(number))
        expected = [frozenset(number[id_] for id_ in row.expected) for row in labelled]
        return _file_sample(path, [row.question for row in labelled], expected)
    texts = [
        text
        for page in question_source.file_questions(path).pages
        for _, text in page
        if text.strip()
    ]
    if not texts:
        raise SourceInvalid(str(path), "the file has no questions")
    return _file_sample(path, texts, None)


def _file_sample(
    path: Path, texts: list[str], expected: list[frozenset[int]] | None
) -> DriftSample:
    phrasing_of = np.full(len(texts), _NOT_A_PHRASING)
    return DriftSample(f"questions of {path.name}", texts, phrasing_of, expected)


def known(bundle: Bundle) -> KnownEmbeddings:
    """Return the original's embeddings of the phrasings, from its index."""
    counts = [len(entry.questions) for entry in bundle.entries()]
    starts = np.cumsum([0, *counts[:-1]])
    return KnownEmbeddings(bundle.array("embeddings")[: sum(counts)], starts)


def compare(sample: DriftSample, before: Floats, after: Floats, known: KnownEmbeddings) -> Drift:
    """Compare the sample's embeddings before and after the conversion.

    Both are (questions, dimensions), rows of length 1.
    """
    cosines = (before * after).sum(axis=1)
    entry_before, lead = _nearest(before, sample.phrasing_of, known)
    entry_after, _ = _nearest(after, sample.phrasing_of, known)
    clear = lead >= CLEAR_LEAD
    return Drift(
        questions=len(sample.texts),
        cosine_mean=round(float(cosines.mean()), _DECIMALS),
        cosine_p1=round(float(np.quantile(cosines, 0.01)), _DECIMALS),
        cosine_least=round(float(cosines.min()), _DECIMALS),
        clear=int(clear.sum()),
        changed=_share((entry_before != entry_after)[clear]),
        accuracy_before=_accuracy(entry_before, sample),
        accuracy_after=_accuracy(entry_after, sample),
    )


def _nearest(embeddings: Floats, phrasing_of: Ints, known: KnownEmbeddings) -> tuple[Ints, Floats]:
    """Return each question's nearest entry, and its lead over the next one."""
    entries, leads = [], []
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = embeddings[block] @ known.embeddings.T
        own = phrasing_of[block]
        rows = np.flatnonzero(own != _NOT_A_PHRASING)
        cosines[rows, own[rows]] = _LEFT_OUT
        by_entry = np.maximum.reduceat(cosines, known.starts, axis=1)
        entries.append(by_entry.argmax(axis=1))
        best_two = np.sort(by_entry, axis=1)[:, -2:]
        leads.append(best_two[:, -1] - best_two[:, 0])  # 0 for a single entry
    return np.concatenate(entries), np.concatenate(leads)


def _accuracy(entries: Ints, sample: DriftSample) -> float | None:
    if sample.expected is None:
        return None
    pairs = zip(entries.tolist(), sample.expected, strict=True)
    right = [entry in expected for entry, expected in pairs if expected]
    return _share(np.array(right, bool))


def _share(flags: NDArray[np.bool_]) -> float:
    return round(float(flags.mean()), 4) if len(flags) else 0.0
