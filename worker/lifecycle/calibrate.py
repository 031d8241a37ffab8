"""What the phrasings tell about each other: hubness, and the threshold.

Both ask what would be answered if a phrasing were not known but asked. The threshold rule
is one for all knowledge bases: hand off what is more likely wrong than right, and beyond
that, where the phrasings stand close together, the least sure 2 % of them; that costs a
rich knowledge base few answers and finds more of what is not in it (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.model.confidence import DECIMALS, confidence
from worker.model.retrieval import Floats, Index, Kinds, scripts
from worker.model.text import Script, script

EVENS = 0.5
HIGHEST = 0.9
HANDED_OFF = 0.02
SAMPLE = 4_000  # phrasings that are left out; more: steadier, and a longer build

_BLOCK = 256  # rows of similarities in memory at once


@dataclass(frozen=True)
class Calibration:
    """What leaving phrasings out has shown."""

    threshold: float
    accuracy: float | None  # of the best entry; None if no entry has two phrasings


def with_hubness(index: Index, texts: Sequence[str]) -> Index:
    """Return the index with the hubness of its normalised phrasings, mixed for each script."""
    count = len(texts)
    near = min(index.parameters.neighbours, count - 1)
    hubness = np.zeros((len(Script), count), np.float32)
    for kind in range(len(Script) if near else 0):
        as_kind = np.full(count, kind)
        for rows, similarities in _left_out(index, as_kind, np.arange(count)):
            largest = np.partition(similarities, -near, axis=1)[:, -near:]
            hubness[kind, rows] = largest.mean(axis=1)
    return replace(index, hubness=hubness)


def calibrate(index: Index, texts: Sequence[str]) -> Calibration:
    """Leave out one phrasing at a time, of entries that have more, and see what happens."""
    several = np.flatnonzero(np.bincount(index.entry_of)[index.entry_of] > 1)
    if not len(several):
        return Calibration(EVENS, None)
    spread = np.linspace(0, len(several) - 1, min(SAMPLE, len(several))).astype(np.int64)
    sure, right = [], []
    kinds = scripts(texts)
    for rows, similarities in _left_out(index, kinds, several[spread]):
        nearest = index.vote(similarities, kinds[rows])
        right += (nearest.entry == index.entry_of[rows]).tolist()
        votes = zip(rows, nearest.similarity.tolist(), nearest.share.tolist(), strict=True)
        sure += [confidence(script(texts[row]), *vote) for row, *vote in votes]
    threshold = float(np.clip(np.quantile(sure, HANDED_OFF), EVENS, HIGHEST))
    return Calibration(round(threshold, DECIMALS), round(float(np.mean(right)), DECIMALS))


def _left_out(
    index: Index, kinds: Kinds, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield phrasings, and their similarities with all but themselves."""
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        similarities = index.compare(index.embeddings[block], index.spellings[block], kinds[block])
        similarities[np.arange(len(block)), block] = -np.inf
        yield block, similarities
