"""How far a converted encoder drifts from the original, on real questions.

Compared are the embeddings (cosine), and what they lead to: the entry of the nearest
phrasing that is known, a phrasing itself left out. Where the two nearest entries are about
as near, the least noise decides between them, and the answering hands such questions off or
guesses; so changed answers are counted where the original's nearest entry leads clearly.
The index stays as the original has made it. Not covered: the vote, spelling, thresholds;
`model diff` and `model evaluate` compare whole versions.
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

MOST_PHRASINGS = 1_000  # that are asked; more: finer figures, and a longer check

# Cosine between the nearest entry and the next. What int8 changes lies below.
CLEAR_LEAD = 0.02

_NOWHERE = -2.0  # less than any cosine
_BLOCK = 256  # rows of similarities in memory at once
_DECIMALS = 6


@dataclass(frozen=True)
class DriftLimits:
    """What a conversion may change; one clear answer always, so that few questions suffice."""

    cosine_least: float
    cosine_p1: float  # of the hundredth that came out worst, the best
    changed: float  # the share of clear answers


# Chosen by measurement, with headroom: docs/log.md.
LIMITS = {
    Precision.FP32: DriftLimits(cosine_least=0.9999, cosine_p1=0.9999, changed=0.0),
    Precision.BF16: DriftLimits(cosine_least=0.995, cosine_p1=0.999, changed=0.02),
    Precision.INT8: DriftLimits(cosine_least=0.85, cosine_p1=0.95, changed=0.02),
}


@dataclass(frozen=True)
class DriftSample:
    """Questions to compare on."""

    title: str  # what they are, for people
    texts: list[str]
    itself: Ints  # (questions,) a phrasing's own place among all, -1: it is none
    expected: list[frozenset[int]] | None  # places of right entries, if anybody knows them


@dataclass(frozen=True)
class KnownEmbeddings:
    """What the original has made of the knowledge base."""

    embeddings: Floats  # (phrasings, dimensions), rows of length 1, entry by entry
    starts: Ints  # (entries,) where each entry's phrasings begin


@dataclass(frozen=True)
class Drift:
    """What was measured; the accuracies are None where nobody knows what is right."""

    questions: int
    cosine_mean: float
    cosine_p1: float
    cosine_least: float
    clear: int  # questions with a clear answer before
    changed: float  # the share of these with another answer after
    accuracy_before: float | None  # of the nearest phrasing's entry, clear or not
    accuracy_after: float | None

    def beyond(self, limits: DriftLimits) -> list[str]:
        """Return what goes beyond the limits, for people."""
        faults = [
            f"the {name} cosine is {found:.4f}, {least} is allowed"
            for name, found, least in (
                ("least", self.cosine_least, limits.cosine_least),
                ("1st percentile's", self.cosine_p1, limits.cosine_p1),
            )
            if not found >= least  # not a number is beyond as well
        ]
        if round(self.changed * self.clear) > max(1, limits.changed * self.clear):
            told = f"{self.changed:.1%} of the clear answers change"
            faults.append(f"{told}, {limits.changed:.1%} may")
        return faults


def sample_phrasings(entries: Sequence[Entry]) -> DriftSample:
    """Take phrasings, evenly spread, the longest among them."""
    texts = [text for entry in entries for text in entry.questions]
    entry_of = [place for place, entry in enumerate(entries) for _ in entry.questions]
    spread = np.linspace(0, len(texts) - 1, min(MOST_PHRASINGS, len(texts))).astype(np.int64)
    longest = max(range(len(texts)), key=lambda place: len(texts[place]))
    places = np.unique(np.append(spread, longest))
    expected = [frozenset({entry_of[place]}) for place in places]
    return DriftSample("phrasings of its own", [texts[place] for place in places], places, expected)


def read_sample(path: Path, entries: Sequence[Entry]) -> DriftSample:
    """Take all questions of a CSV; with a column `expected` they are labelled.

    Raises:
        SourceInvalid: it can't be read, or has no column `question`, or no question.
    """
    if is_labelled(path):
        place = {entry.id: i for i, entry in enumerate(entries)}
        labelled = read_labelled(path, frozenset(place))
        expected = [frozenset(place[name] for name in row.expected) for row in labelled]
        return _asked(f"questions of {path.name}", [row.question for row in labelled], expected)
    texts = [
        text
        for page in question_source.file_questions(path).pages
        for _, text in page
        if text.strip()
    ]
    if not texts:
        raise SourceInvalid(str(path), "there is no question in it")
    return _asked(f"questions of {path.name}", texts, None)


def _asked(title: str, texts: list[str], expected: list[frozenset[int]] | None) -> DriftSample:
    return DriftSample(title, texts, np.full(len(texts), -1), expected)


def known(bundle: Bundle) -> KnownEmbeddings:
    """Return the original's embeddings of the phrasings, from its index."""
    counts = [len(entry.questions) for entry in bundle.entries()]
    starts = np.cumsum([0, *counts[:-1]])
    return KnownEmbeddings(bundle.array("embeddings")[: sum(counts)], starts)


def compare(sample: DriftSample, before: Floats, after: Floats, known: KnownEmbeddings) -> Drift:
    """Compare the embeddings of the sample, (questions, dimensions), rows of length 1."""
    cosines = (before * after).sum(axis=1)
    first, lead = _nearest(before, sample.itself, known)
    second, _ = _nearest(after, sample.itself, known)
    clear = lead >= CLEAR_LEAD
    return Drift(
        questions=len(sample.texts),
        cosine_mean=round(float(cosines.mean()), _DECIMALS),
        cosine_p1=round(float(np.quantile(cosines, 0.01)), _DECIMALS),
        cosine_least=round(float(cosines.min()), _DECIMALS),
        clear=int(clear.sum()),
        changed=_share((first != second)[clear]),
        accuracy_before=_accuracy(first, sample),
        accuracy_after=_accuracy(second, sample),
    )


def _nearest(embeddings: Floats, itself: Ints, known: KnownEmbeddings) -> tuple[Ints, Floats]:
    """Return (questions,) of the nearest entry, and by how much it leads the next."""
    entries, leads = [], []
    for start in range(0, len(embeddings), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosines = embeddings[rows] @ known.embeddings.T
        own = itself[rows]
        phrasings = np.flatnonzero(own >= 0)
        cosines[phrasings, own[phrasings]] = _NOWHERE
        by_entry = np.maximum.reduceat(cosines, known.starts, axis=1)
        entries.append(by_entry.argmax(axis=1))
        two = np.sort(by_entry, axis=1)[:, -2:]
        leads.append(two[:, -1] - two[:, 0])  # 0 if there is but one entry
    return np.concatenate(entries), np.concatenate(leads)


def _accuracy(found: Ints, sample: DriftSample) -> float | None:
    if sample.expected is None:
        return None
    pairs = zip(found.tolist(), sample.expected, strict=True)
    right = [entry in expected for entry, expected in pairs if expected]
    return _share(np.array(right, bool))


def _share(flags: NDArray[np.bool_]) -> float:
    return round(float(flags.mean()), 4) if len(flags) else 0.0
