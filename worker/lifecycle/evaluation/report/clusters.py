"""Clusters of questions that ask about the same.

Agglomerative clustering with average linkage, cut where the mean silhouette is largest
(Rousseeuw, "Silhouettes", 1987). Similarity is the mean of two cosines, of embeddings and of
TF-IDF vectors: an encoder that does not know a language finds all its questions similar
(docs/log.md). For the same reason each script is clustered by itself. Memory grows with the
square of the number of questions, so the caller must sample a large set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.text.normalization import Script, normalize_for_match, script

MAX_QUESTIONS = 2_000  # per call: 32 MB; twice as many: four times the memory

Indexes = NDArray[np.int64]
Floats = NDArray[np.float32]

_CUTS = 24  # numbers of clusters to try
_MAX_CENTRAL = 3
_MAX_WORDS = 5

# Characters that most Chinese questions contain, as the stop words of scikit-learn for English.
_COMMON = frozenset(
    "什么怎样为何哪里个些多少久可以不能有没是会你们我他这那一下请问的想还如吗呢吧啊呀了在要"
    "麼樣為裡個沒會們這請問還嗎"
)


@dataclass(frozen=True)
class Cluster:
    """Questions that ask about the same."""

    members: list[int]  # indexes of the questions, the most central first
    central: list[int]  # the first members with different texts
    words: list[str]  # more frequent here than in other clusters


def cluster(texts: Sequence[str], embeddings: Floats) -> list[Cluster]:
    """Cluster questions, the largest cluster first.

    Args:
        texts: the questions, at most `MAX_QUESTIONS`, each with at least one word.
        embeddings: (questions, dimensions), rows of length 1.
    """
    normal = [normalize_for_match(text) for text in texts]
    scripts = np.array([script(text) for text in texts])
    groups: list[Indexes] = []
    for kind in Script:
        indexes = np.flatnonzero(scripts == kind)
        labels = _labels([normal[i] for i in indexes], embeddings[indexes])
        groups += [indexes[labels == label] for label in np.unique(labels)]
    members = [_by_centrality(group, embeddings) for group in groups]
    words = _distinctive_words([[normal[i] for i in group] for group in members])
    clusters = [
        Cluster(group, _first_different(group, normal), group_words)
        for group, group_words in zip(members, words, strict=True)
    ]
    return sorted(clusters, key=lambda each: (-len(each.members), each.members))


def _labels(texts: Sequence[str], embeddings: Floats) -> Indexes:
    count = len(texts)
    best, labels = -1.0, np.zeros(count, np.int64)
    if count < 4:  # noqa: PLR2004 - too few for two clusters of two
        return labels
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    distances = _distances(texts, embeddings)
    tree = linkage(squareform(distances, checks=False), method="average")
    # Fewer clusters than the square root would be topics, which are broader than an entry.
    cuts = np.unique(np.geomspace(math.isqrt(count), count // 2, _CUTS).round().astype(int))
    for candidate in cut_tree(tree, cuts).T:
        score = silhouette_score(distances, candidate, metric="precomputed")
        if score > best:
            best, labels = score, candidate
    return labels


def _distances(texts: Sequence[str], embeddings: Floats) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    spellings = vectorizer.fit_transform(texts)
    similarities = (embeddings @ embeddings.T + (spellings @ spellings.T).toarray()) / 2
    distances: NDArray[np.float64] = np.maximum(1 - similarities, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _by_centrality(group: Indexes, embeddings: Floats) -> list[int]:
    center = embeddings[group].mean(axis=0)
    order = np.argsort(-(embeddings[group] @ center), kind="stable")
    return [int(i) for i in group[order]]


def _first_different(group: Sequence[int], normal: Sequence[str]) -> list[int]:
    first = {normal[i]: i for i in reversed(group)}
    return [i for i in group if first[normal[i]] == i][:_MAX_CENTRAL]


def _distinctive_words(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return each group's words with the largest TF-IDF.

    Each group is one document. A word counts once per question, and only if two questions
    of the group contain it.
    """
    counts = [Counter(word for text in group for word in set(_words(text))) for group in groups]
    spread = Counter(word for group_counts in counts for word in group_counts)
    return [
        _largest(group_counts, spread, len(groups), least=min(2, len(group)))
        for group_counts, group in zip(counts, groups, strict=True)
    ]


def _largest(counts: Counter[str], spread: Counter[str], groups: int, least: int) -> list[str]:
    weights = {
        word: count * math.log(1 + groups / spread[word])
        for word, count in counts.items()
        if count >= least
    }
    chosen: list[str] = []
    for word in sorted(weights, key=lambda word: (-weights[word], word)):
        # Pairs of characters overlap; keep one of those that share a character.
        if script(word) is Script.SPACED or not set(word) & set("".join(chosen)):
            chosen.append(word)
    return chosen[:_MAX_WORDS]


def _words(text: str) -> Iterator[str]:
    """Yield words or, for scripts without spaces, pairs of characters."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    for word in text.split():
        if script(word) is Script.CJK:
            pairs = (word[i : i + 2] for i in range(len(word) - 1))
            yield from (pair for pair in pairs if not _COMMON.issuperset(pair))
        elif word not in ENGLISH_STOP_WORDS:
            yield word
