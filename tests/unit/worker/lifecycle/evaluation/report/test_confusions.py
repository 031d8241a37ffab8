from __future__ import annotations

from tests.labelled import answered, expecting, handed_off
from worker.lifecycle.evaluation.report.confusions import Example, confusions


def test_the_most_frequent_comes_first_with_its_most_confident_examples():
    texts = ["one", "two", "three", "four", "five"]
    labelled = [expecting("a", text=text) for text in texts]
    confidences = [0.2, 0.9, 0.4, 0.6]
    answers = [answered("b", c) if c > 0.5 else handed_off("b", c) for c in confidences]
    first, second = confusions(labelled, [*answers, answered("c")])
    assert (first.expected, first.chosen, first.count, first.answered) == (["a"], "b", 4, 2)
    assert first.examples == [
        Example("two", 0.9, answered=True),
        Example("four", 0.6, answered=True),
        Example("three", 0.4, answered=False),
    ]
    assert (second.chosen, second.count) == ("c", 1)


def test_what_is_right_is_no_confusion():
    labelled = [expecting("a", "b"), expecting("a")]
    assert confusions(labelled, [answered("b"), handed_off("a")]) == []


def test_a_question_without_an_entry_counts_only_if_answered():
    (confusion,) = confusions([expecting(), expecting()], [answered("a"), handed_off("a")])
    assert (confusion.expected, confusion.chosen, confusion.count) == ([], "a", 1)


def test_a_hand_off_that_names_no_entry_is_no_confusion():
    assert confusions([expecting("a")], [handed_off(None, None)]) == []


def test_of_equally_frequent_ones_the_answered_come_first():
    labelled = [expecting("a"), expecting("b"), expecting("c")]
    answers = [handed_off("x"), answered("x"), handed_off("x")]
    assert [confusion.expected for confusion in confusions(labelled, answers)] == [
        ["b"],
        ["a"],
        ["c"],
    ]
