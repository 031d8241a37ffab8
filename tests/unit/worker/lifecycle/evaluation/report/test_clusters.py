from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.evaluation.report.clusters import cluster

RENT = ["can i rent a tent", "rent a tent please", "how to rent your tents", "tent to rent"]
PAINT = ["which paint for the wall", "paint the wall blue", "is wall paint sold", "wall paint"]
LAMP = ["lamp too bright", "dim the lamp", "dimmer for a lamp", "lamp dimmer"]


def embedded(*groups: list[str]) -> tuple[list[str], np.ndarray]:
    """The texts of all groups, and embeddings of each close to the group's own direction."""
    texts = [text for group in groups for text in group]
    rows = np.random.default_rng(3).normal(0, 0.02, (len(texts), 8)).astype(np.float32)
    start = 0
    for axis, group in enumerate(groups):
        rows[start : start + len(group), axis] += 1
        start += len(group)
    return texts, rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_questions_that_ask_about_the_same_stand_together():
    texts, embeddings = embedded(RENT, PAINT, LAMP)
    clusters = cluster(texts, embeddings)
    members = [sorted(texts[i] for i in each.members) for each in clusters]
    assert sorted(members) == sorted(map(sorted, [RENT, PAINT, LAMP]))


def test_a_cluster_is_named_by_words_that_several_of_it_hold_and_others_do_not():
    texts, embeddings = embedded(RENT, PAINT, LAMP)
    words = {texts[each.members[0]] in RENT: each.words for each in cluster(texts, embeddings)}
    assert sorted(words[True][:2]) == ["rent", "tent"]
    assert "paint" not in words[True]
    assert "please" not in words[True]  # one question only


def test_the_largest_comes_first():
    texts, embeddings = embedded(RENT[:2], PAINT, LAMP[:3])
    sizes = [len(each.members) for each in cluster(texts, embeddings)]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 9


def test_the_most_central_come_first_and_none_twice():
    texts, embeddings = embedded([*RENT, *RENT[:1] * 3], PAINT)
    first = cluster(texts, embeddings)[0]
    assert len({texts[i] for i in first.members}) < len(first.members)
    assert len({texts[i] for i in first.central}) == len(first.central) == 3
    center = embeddings[first.members].mean(axis=0)
    nearness = (embeddings[first.members] @ center).tolist()
    assert nearness == sorted(nearness, reverse=True)


def test_broad_topics_are_no_clusters():
    groups = [RENT, PAINT, LAMP, [text + " today" for text in RENT]]
    texts, embeddings = embedded(*groups)
    embeddings[: len(RENT) + len(PAINT), 6] = 3  # one topic
    embeddings[len(RENT) + len(PAINT) :, 7] = 3  # the other
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert len(cluster(texts, embeddings)) >= 4


def test_chinese_is_clustered_by_itself_and_named_by_pairs_of_characters():
    chinese = ["帐篷多高", "帐篷怎么租", "租帐篷可以吗", "有没有帐篷租"]
    texts, embeddings = embedded([*RENT, *chinese], PAINT)
    clusters = cluster(texts, embeddings)
    mixed = [{4 <= i < 8 for i in each.members} for each in clusters]
    assert all(len(kinds) == 1 for kinds in mixed)
    words = {word for each in clusters for word in each.words}
    assert "帐篷" in words
    assert not words & {"怎么", "可以", "有没"}  # every question may hold these
    assert "篷租" not in words  # overlaps


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_few_questions_are_clustered_too(count: int):
    texts, embeddings = embedded((RENT + PAINT)[:count])
    indexes = [i for each in cluster(texts, embeddings) for i in each.members]
    assert sorted(indexes) == list(range(count))


def test_equal_questions_are_one_cluster():
    texts, embeddings = embedded(["same thing"] * 9)
    embeddings[:] = embeddings[0]
    clusters = cluster(texts, embeddings)
    assert sum(len(each.members) for each in clusters) == 9
    assert all(each.central for each in clusters)
