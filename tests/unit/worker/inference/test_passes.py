from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.result import Answer, Status
from tests.fakes import FakeModel
from worker.inference.passes import answer_texts, form_passes
from worker.inference.protocol import PassBudget

LENGTHS = st.lists(st.integers(min_value=0, max_value=300), max_size=200)
BUDGETS = st.builds(
    PassBudget, tokens=st.integers(min_value=1, max_value=2_000), questions=st.integers(1, 64)
)


@given(lengths=LENGTHS, budget=BUDGETS)
def test_every_question_is_in_exactly_one_pass(lengths: list[int], budget: PassBudget):
    passes = form_passes(lengths, budget)
    assert sorted(i for members in passes for i in members) == list(range(len(lengths)))


@given(lengths=LENGTHS, budget=BUDGETS)
def test_no_pass_is_over_budget_unless_it_is_one_question(lengths: list[int], budget: PassBudget):
    for members in form_passes(lengths, budget):
        padded = max(lengths[i] for i in members) * len(members)
        assert len(members) == 1 or padded <= budget.tokens
        assert len(members) <= budget.questions


@given(lengths=LENGTHS, budget=BUDGETS)
def test_a_pass_ends_only_when_the_next_question_does_not_fit(
    lengths: list[int], budget: PassBudget
):
    for members in form_passes(lengths, budget)[:-1]:
        padded = max(1, lengths[members[0]]) * (len(members) + 1)
        assert len(members) == budget.questions or padded > budget.tokens


@given(lengths=LENGTHS, budget=BUDGETS)
def test_the_longest_questions_come_first(lengths: list[int], budget: PassBudget):
    order = [lengths[i] for members in form_passes(lengths, budget) for i in members]
    assert order == sorted(lengths, reverse=True)


def test_a_question_longer_than_the_budget_gets_a_pass_alone():
    passes = form_passes([3, 90, 3], PassBudget(tokens=10, questions=8))
    assert passes == [[1], [0, 2]]


@given(
    texts=st.lists(st.text(alphabet="abc ", min_size=1).filter(str.strip), max_size=40),
    budget=BUDGETS,
)
def test_each_answer_belongs_to_its_question(texts: list[str], budget: PassBudget):
    answers = answer_texts(FakeModel(budget=budget), texts)
    assert [answer.answer for answer in answers] == [" ".join(text.split()) for text in texts]


def test_equal_questions_are_computed_once():
    model = FakeModel(budget=PassBudget(tokens=100, questions=10))
    answers = answer_texts(model, ["a c", " a   c ", "b", "a c\n"])
    assert model.tokenized == ["a c", "b"]
    assert [answer.answer for answer in answers] == ["a c", "a c", "b", "a c"]


def test_a_known_answer_needs_no_pass():
    reported: list[int] = []
    model = FakeModel(budget=PassBudget(tokens=100, questions=10))
    model.known = {"a": Answer(Status.ANSWERED, answer="known")}
    answers = answer_texts(model, ["b", "a", "a "], reported.append)
    assert model.tokenized == ["b"]
    assert [answer.answer for answer in answers] == ["b", "known", "known"]
    assert reported == [2, 3]


def test_nothing_is_tokenized_when_no_question_needs_a_pass():
    model = FakeModel(budget=PassBudget(tokens=100, questions=10))
    model.known = {"a": Answer(Status.ANSWERED, answer="known")}
    assert answer_texts(model, ["a"]) == [model.known["a"]]
    assert model.tokenized == []


def test_progress_counts_questions_and_ends_at_all_of_them():
    reported: list[int] = []
    model = FakeModel(budget=PassBudget(tokens=100, questions=1))
    answer_texts(model, ["ccc", "a", "bb", "a"], reported.append, decide_together=1)
    assert reported == [1, 2, 4]


def test_small_passes_are_decided_together_and_a_large_one_at_once():
    reported: list[int] = []
    small = FakeModel(budget=PassBudget(tokens=100, questions=3))
    answers = answer_texts(small, [*"abcdefgh"], reported.append, decide_together=4)
    assert small.passes == [3, 3, 2]
    assert reported == [6, 8]
    assert [answer.answer for answer in answers] == [*"abcdefgh"]


def test_no_question_needs_no_pass():
    model = FakeModel(budget=PassBudget(tokens=100, questions=10))
    assert answer_texts(model, []) == []
    assert model.passes == []


@pytest.mark.parametrize("forbidden", ["celery", "torch", "transformers", "numpy"])
def test_importing_passes_does_not_import(forbidden: str):
    code = f"import sys, worker.inference.passes; sys.exit({forbidden!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=_root()).returncode == 0


def _root() -> str:
    import worker

    assert worker.__file__
    return worker.__file__.removesuffix("worker/__init__.py")
