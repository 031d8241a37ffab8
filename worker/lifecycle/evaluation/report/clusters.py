"""Putting questions that ask about the same into clusters.

Agglomerative clustering with average linkage, cut where the mean silhouette is largest
(Rousseeuw, "Silhouettes", 1987). Two questions are alike by half by meaning, the cosine of
their embeddings, and by half by spelling, the cosine of their TF-IDF: an encoder may not
know the language, and then takes all of it for alike (docs/log.md). For the same reason
each script is clustered by itself. The distance of every two questions is held, so of very
many a sample must be taken.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.text.normalization import Script, normalize_for_match, script

MOST = 2_000  # questions at once; twice as many: four times the memory, 32 MB for these

Places = NDArray[np.int64]
Floats = NDArray[np.float32]

_CUTS = 24  # numbers of clusters that are tried
_CENTRAL = 3
_WORDS = 5

# Characters of which every Chinese question has some; scikit-learn has such words for English.
_COMMON = frozenset(
    "什么怎样为何哪里个些多少久可以不能有没是会你们我他这那一下请问的想还如吗呢吧啊呀了在要"
    "麼樣為裡個沒會們這請問還嗎"
)


@dataclass(frozen=True)
class Cluster:
    """Questions that ask about the same."""

    members: list[int]  # places of the questions, the most central first
    central: list[int]  # of the first of them, no two of the same text
    words: list[str]  # what they hold more often than other clusters


def cluster(texts: Sequence[str], embeddings: Floats) -> list[Cluster]:
    """Put questions into clusters, the largest first.

    Args:
        texts: the questions, at most `MOST`, none of them without anything readable.
        embeddings: (questions, dimensions), rows of length 1.
    """
    normal = [normalize_for_match(text) for text in texts]
    kinds = np.array([script(text) for text in texts])
    groups: list[Places] = []
    for kind in Script:
        places = np.flatnonzero(kinds == kind)
        labels = _labels([normal[place] for place in places], embeddings[places])
        groups += [places[labels == label] for label in np.unique(labels)]
    members = [_by_centrality(group, embeddings) for group in groups]
    words = _distinguishing([[normal[place] for place in group] for group in members])
    found = [
        Cluster(group, _first_different(group, normal), told)
        for group, told in zip(members, words, strict=True)
    ]
    return sorted(found, key=lambda each: (-len(each.members), each.members))


def _labels(texts: Sequence[str], embeddings: Floats) -> Places:
    count = len(texts)
    best, labels = -1.0, np.zeros(count, np.int64)
    if count < 4:  # noqa: PLR2004 - too few to make two clusters of two
        return labels
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    distances = _distances(texts, embeddings)
    tree = linkage(squareform(distances, checks=False), method="average")
    # Fewer clusters than the root would be broad topics, broader than an entry.
    cuts = np.unique(np.geomspace(math.isqrt(count), count // 2, _CUTS).round().astype(int))
    for tried in cut_tree(tree, cuts).T:
        score = silhouette_score(distances, tried, metric="precomputed")
        if score > best:
            best, labels = score, tried
    return labels


def _distances(texts: Sequence[str], embeddings: Floats) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    spellings = runs.fit_transform(texts)
    alike = (embeddings @ embeddings.T + (spellings @ spellings.T).toarray()) / 2
    distances: NDArray[np.float64] = np.maximum(1 - alike, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _by_centrality(group: Places, embeddings: Floats) -> list[int]:
    centre = embeddings[group].mean(axis=0)
    order = np.argsort(-(embeddings[group] @ centre), kind="stable")
    return [int(place) for place in group[order]]


def _first_different(group: Sequence[int], normal: Sequence[str]) -> list[int]:
    first = {normal[place]: place for place in reversed(group)}
    return [place for place in group if first[normal[place]] == place][:_CENTRAL]


def _distinguishing(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Name for each group the words with the largest TF-IDF, each group taken as one text.

    A word counts once a question, and only if two questions of the group hold it.
    """
    held = [Counter(word for text in group for word in set(_words(text))) for group in groups]
    spread = Counter(word for counts in held for word in counts)
    return [
        _largest(counts, spread, len(groups), least=min(2, len(group)))
        for counts, group in zip(held, groups, strict=True)
    ]


def _largest(counts: Counter[str], spread: Counter[str], groups: int, least: int) -> list[str]:
    weights = {
        word: times * math.log(1 + groups / spread[word])
        for word, times in counts.items()
        if times >= least
    }
    told: list[str] = []
    for word in sorted(weights, key=lambda word: (-weights[word], word)):
        if script(word) is Script.SPACED or not set(word) & set("".join(told)):
            told.append(word)  # of pairs of characters that overlap, one
    return told[:_WORDS]


def _words(text: str) -> Iterator[str]:
    """Yield words; of scripts without spaces, pairs of characters."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    for word in text.split():
        if script(word) is Script.CJK:
            pairs = (word[i : i + 2] for i in range(len(word) - 1))
            yield from (pair for pair in pairs if not _COMMON.issuperset(pair))
        elif word not in ENGLISH_STOP_WORDS:
            yield word
