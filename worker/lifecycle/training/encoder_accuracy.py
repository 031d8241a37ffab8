"""The accuracy of an encoder on held-out phrasings.

Accuracy is measured with two classifiers that know the other phrasings, as they fail
differently: a vote of the nearest phrasings, and a logistic regression. A worker uses neither
as it is, but an encoder that is better with both is better in a worker too (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

HELD_OUT = 0.2
MOST_HELD_OUT = 2_000  # higher: a less random accuracy, less to learn from
MOST_KNOWN = 4_000  # phrasings to answer from; higher: takes minutes

_NEIGHBORS = 10
_SHARPNESS = 12.0  # of exp(sharpness * cosine), the weight of a neighbor's vote
_INVERSE_PENALTY = 10.0
_BLOCK = 256  # rows of cosines in memory at once


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers by two classifiers, named as in the manifest."""

    neighbours: float
    regression: float

    @property
    def mean(self) -> float:
        """The figure that encoders are compared by."""
        return (self.neighbours + self.regression) / 2


def hold_out(entry_of: Ints, seed: int) -> Flags:
    """Choose phrasings to hold out: at least one, and not all of an entry.

    The share is the same for every entry.

    Args:
        entry_of: (phrasings,), the entry of each.
        seed: seed of the random choice.

    Returns:
        (phrasings,), true for a held-out phrasing.
    """
    share = min(HELD_OUT, MOST_HELD_OUT / max(1, len(entry_of)))
    random = np.random.default_rng(seed)
    held_out = np.zeros(len(entry_of), bool)
    for entry in range(entry_of.max() + 1):
        own = random.permutation(np.flatnonzero(entry_of == entry))
        # With a random start, small entries lose a phrasing as often as their size requires.
        ranks = (np.arange(len(own)) + random.random()) / max(1, len(own))
        held_out[own[: len(own) - 1][(ranks < share)[:-1]]] = True
    if not held_out.any():
        held_out[np.flatnonzero(entry_of == np.bincount(entry_of).argmax())[0]] = True
    return held_out


def sample(held_out: Flags) -> Ints:
    """Return the phrasings to measure with: all held-out ones, and others.

    Args:
        held_out: (phrasings,), in the order of the entries. The others are spread evenly.
    """
    known = np.flatnonzero(~held_out)
    spread = np.linspace(0, len(known) - 1, min(MOST_KNOWN, len(known))).astype(np.int64)
    return np.concatenate([known[spread], np.flatnonzero(held_out)])


def entry_means(embeddings: Floats, entry_of: Ints) -> Floats:
    """Return (entries, dimensions): the mean directions of their phrasings."""
    sums = np.zeros((entry_of.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, entry_of, embeddings)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means: Floats = sums / np.maximum(lengths, np.finfo(np.float32).tiny)
    return means


def measure_accuracy(embeddings: Floats, entry_of: Ints, held_out: Flags) -> Accuracy:
    """Answer the held-out phrasings from the others.

    Args:
        embeddings: (phrasings, dimensions), rows of length 1.
        entry_of: (phrasings,), the right entry of each.
        held_out: (phrasings,), true for the phrasings to answer.
    """
    expected = entry_of[held_out]
    split = embeddings[~held_out], entry_of[~held_out], embeddings[held_out]
    by_vote, by_regression = _vote(*split), _regression(*split)
    return Accuracy(
        neighbours=float((by_vote == expected).mean()),
        regression=float((by_regression == expected).mean()),
    )


def _vote(known: Floats, entry_of: Ints, questions: Floats) -> Ints:
    count = min(_NEIGHBORS, len(known))
    winners = []
    for start in range(0, len(questions), _BLOCK):
        cosines = questions[start : start + _BLOCK] @ known.T
        nearest = np.argpartition(cosines, -count, axis=1)[:, -count:]
        weights = np.exp(_SHARPNESS * np.take_along_axis(cosines, nearest, 1))
        votes = np.zeros((len(cosines), entry_of.max() + 1))
        np.add.at(votes, (np.arange(len(cosines))[:, None], entry_of[nearest]), weights)
        winners.append(votes.argmax(axis=1))
    return np.concatenate(winners)


def _regression(known: Floats, entry_of: Ints, questions: Floats) -> Ints:
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    model = LogisticRegression(C=_INVERSE_PENALTY, tol=1e-3, max_iter=300)
    answers: Ints = model.fit(known, entry_of).predict(questions)
    return answers
