"""Judging an encoder by held-out phrasings: do they get their own entry, answered from the rest?

Two ways to answer are judged, as they fail differently: the vote of the nearest phrasings,
and a logistic regression. Neither is what a worker does in full; an encoder that is better
for both, is better for that too (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

HELD_OUT = 0.2
MOST_HELD_OUT = 2_000  # more: a verdict with less chance in it, and less to learn from
MOST_KNOWN = 4_000  # to answer from; more: minutes

_NEIGHBORS = 10
_SHARPNESS = 12.0  # of exp(sharpness * cosine), a neighbour's vote
_INVERSE_PENALTY = 10.0
_BLOCK = 256  # rows of cosines in memory at once


@dataclass(frozen=True)
class Accuracy:
    """The share of held-out phrasings that got their own entry, by two ways to answer."""

    neighbours: float
    regression: float

    @property
    def mean(self) -> float:
        """What encoders are compared by."""
        return (self.neighbours + self.regression) / 2


def hold_out(entry_of: Ints, seed: int) -> Flags:
    """Pick phrasings to hold out: one at least, from every entry alike, leaving it one.

    Args:
        entry_of: (phrasings,) each one's entry.
        seed: of the choice.

    Returns:
        (phrasings,) true for the held out.
    """
    share = min(HELD_OUT, MOST_HELD_OUT / max(1, len(entry_of)))
    random = np.random.default_rng(seed)
    held_out = np.zeros(len(entry_of), bool)
    for entry in range(entry_of.max() + 1):
        own = random.permutation(np.flatnonzero(entry_of == entry))
        # A random start makes small entries lose one as often as their size demands.
        places = (np.arange(len(own)) + random.random()) / max(1, len(own))
        held_out[own[: len(own) - 1][(places < share)[:-1]]] = True
    if not held_out.any():
        held_out[np.flatnonzero(entry_of == np.bincount(entry_of).argmax())[0]] = True
    return held_out


def sample(held_out: Flags) -> Ints:
    """Return the places of the phrasings that judging takes: the held out, and some others.

    Args:
        held_out: (phrasings,), those of an entry side by side; of the others, every so manieth.
    """
    known = np.flatnonzero(~held_out)
    some = np.linspace(0, len(known) - 1, min(MOST_KNOWN, len(known))).astype(np.int64)
    return np.concatenate([known[some], np.flatnonzero(held_out)])


def entry_means(embeddings: Floats, entry_of: Ints) -> Floats:
    """Return (entries, dimensions): the direction in which each entry's phrasings lie."""
    sums = np.zeros((entry_of.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, entry_of, embeddings)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means: Floats = sums / np.maximum(lengths, np.finfo(np.float32).tiny)
    return means


def measure_accuracy(embeddings: Floats, entry_of: Ints, held_out: Flags) -> Accuracy:
    """Answer the held-out phrasings from the others.

    Args:
        embeddings: (phrasings, dimensions), rows of length 1.
        entry_of: (phrasings,) the entries that are right.
        held_out: (phrasings,) which are asked.
    """
    known, asked = ~held_out, held_out
    expected = entry_of[asked]
    split = embeddings[known], entry_of[known], embeddings[asked]
    by_vote, by_regression = _vote(*split), _regression(*split)
    return Accuracy(
        neighbours=float((by_vote == expected).mean()),
        regression=float((by_regression == expected).mean()),
    )


def _vote(known: Floats, entry_of: Ints, asked: Floats) -> Ints:
    near = min(_NEIGHBORS, len(known))
    winners = []
    for start in range(0, len(asked), _BLOCK):
        cosines = asked[start : start + _BLOCK] @ known.T
        nearest = np.argpartition(cosines, -near, axis=1)[:, -near:]
        weights = np.exp(_SHARPNESS * np.take_along_axis(cosines, nearest, 1))
        votes = np.zeros((len(cosines), entry_of.max() + 1))
        np.add.at(votes, (np.arange(len(cosines))[:, None], entry_of[nearest]), weights)
        winners.append(votes.argmax(axis=1))
    return np.concatenate(winners)


def _regression(known: Floats, entry_of: Ints, asked: Floats) -> Ints:
    from sklearn.linear_model import LogisticRegression  # a second to import

    model = LogisticRegression(C=_INVERSE_PENALTY, tol=1e-3, max_iter=300)
    answers: Ints = model.fit(known, entry_of).predict(asked)
    return answers
