from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.labelled import answered, expecting, handed_off
from worker.inference.protocol import PassBudget
from worker.lifecycle.evaluation.report import missing_entries as module
from worker.lifecycle.evaluation.report.missing_entries import find_missing_entries
from worker.lifecycle.inputs.labelled_questions import QuestionScope


class Model:
    """Embeds a text by how many of each letter it has."""

    version = "fake@1"
    budget = PassBudget(tokens=64, questions=3)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(char) % 32 for char in text] for text in texts]

    def encode(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        counts = np.array([np.bincount(ids, minlength=32) for ids in tokens], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_only_near_questions_without_an_entry_are_clustered():
    labelled = [
        expecting(text="rent a tent"),
        expecting(text="weather", scope=QuestionScope.FAR),
        expecting("a", text="refund"),
        expecting(text="zzz", scope=QuestionScope.NEAR),
        expecting(text="???"),
        expecting(text="long " * 9),
    ]
    missing = find_missing_entries(Model(), labelled, [handed_off("a")] * 6, question_chars=20)
    assert (missing.questions, missing.clustered) == (2, 2)
    assert {text for group in missing.groups for text in group.central} == {"rent a tent", "zzz"}


def test_what_was_answered_is_counted():
    labelled = [expecting(text=text) for text in ("rent a tent", "tent to rent", "tents to rent")]
    answers = [answered("a"), handed_off("a"), answered("b")]
    (group,) = find_missing_entries(Model(), labelled, answers, 100).groups
    assert (group.size, group.answered) == (3, 2)
    assert "rent" in group.words


def test_each_question_has_its_own_embedding():
    texts = ["a", "bbbb", "cc", "ddddddd", "eee", "b", "cccc"]
    alone = np.concatenate([Model().encode(Model().tokenize([text])) for text in texts])
    assert np.array_equal(module._embed(Model(), texts), alone)


def test_nothing_is_missing_if_every_question_has_an_entry():
    assert find_missing_entries(Model(), [expecting("a")], [answered("a")], 100).groups == []


def test_of_very_many_a_sample_is_clustered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_QUESTIONS", 10)
    labelled = [expecting(text=f"question {n}") for n in range(25)]
    missing = find_missing_entries(Model(), labelled, [handed_off("a")] * 25, 100)
    assert (missing.questions, missing.clustered) == (25, 10)
    assert sum(group.size for group in missing.groups) == 10


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25, 1_000])
def test_a_sample_is_spread_over_the_whole_file(monkeypatch: pytest.MonkeyPatch, count: int):
    monkeypatch.setattr(module, "MAX_QUESTIONS", 10)
    indexes = module._spread(count)
    assert len(set(indexes)) == min(count, 10)
    assert indexes == sorted(indexes)
    assert all(0 <= index < count for index in indexes)
    assert not indexes or indexes[-1] >= 0.8 * (count - 1)
