from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.result import Answer, AnswerSource, Status
from tests.fakes import FakeModel
from worker.inference.answer_cache import AnswerCache, CachedModel
from worker.inference.passes import answer_texts

TEXTS = st.lists(st.text(alphabet="ab ?\n", min_size=1, max_size=4).filter(str.strip), max_size=12)


def echo(version="echo@1", at_once=()):
    """Return a model whose answers name its version; those to `at_once` need no pass."""

    def answer(text, via=AnswerSource.PASS):
        return Answer(Status.ANSWERED, answer=f"{version}: {text}", via=via)

    known = {text: answer(text, AnswerSource.PHRASING) for text in at_once}
    return FakeModel(version, answer=answer, known=known)


def texts_of(answers):
    return [answer.answer for answer in answers]


@given(jobs=st.lists(TEXTS, max_size=6), entries=st.integers(0, 5))
def test_answers_are_the_same_with_the_cache_and_without(jobs, entries):
    plain = echo(at_once=("a",))
    cached = CachedModel(echo(at_once=("a",)), AnswerCache(entries))
    for job in jobs:
        assert answer_texts(cached, job) == answer_texts(plain, job)


def test_a_repeated_question_needs_no_pass():
    model = echo()
    cached = CachedModel(model, AnswerCache(10))
    answer_texts(cached, ["a", "b"])
    again = answer_texts(cached, ["b", " a\n", "c"])
    assert model.tokenized == ["a", "b", "c"]
    assert texts_of(again) == ["echo@1: b", "echo@1: a", "echo@1: c"]
    assert [answer.via for answer in again] == [
        AnswerSource.CACHE,
        AnswerSource.CACHE,
        AnswerSource.PASS,
    ]


def test_no_answer_of_one_version_serves_another():
    cache = AnswerCache(10)
    first, second = CachedModel(echo("shop@1"), cache), CachedModel(echo("shop@12"), cache)
    assert texts_of(answer_texts(first, ["2a", "a"])) == ["shop@1: 2a", "shop@1: a"]
    assert texts_of(answer_texts(second, ["a", "2a"])) == ["shop@12: a", "shop@12: 2a"]
    assert texts_of(answer_texts(first, ["2a", "a"])) == ["shop@1: 2a", "shop@1: a"]


@given(jobs=st.lists(TEXTS, max_size=6), entries=st.integers(0, 5))
def test_the_cache_never_exceeds_its_maximum(jobs, entries):
    cache = AnswerCache(entries)
    for job in jobs:
        answer_texts(CachedModel(echo(), cache), job)
        assert len(cache) <= entries


def test_the_least_recently_used_answer_is_removed_first():
    cache = AnswerCache(2)
    for text in ("old", "kept"):
        cache.keep("echo@1", text, Answer(Status.ANSWERED))
    assert cache.find("echo@1", "old")
    cache.keep("echo@1", "new", Answer(Status.ANSWERED))
    assert [bool(cache.find("echo@1", text)) for text in ("old", "kept", "new")] == [
        True,
        False,
        True,
    ]


def test_answers_without_a_pass_are_cached_too():
    cache = AnswerCache(2)
    (first,) = answer_texts(CachedModel(echo(at_once=("a",)), cache), ["a"])
    (second,) = answer_texts(CachedModel(echo(), cache), ["a"])
    assert (first.via, second.via) == (AnswerSource.PHRASING, AnswerSource.CACHE)


def test_a_failed_question_is_not_cached():
    class Broken(FakeModel):
        def encode(self, tokens):
            raise ValueError(len(tokens))

    cache = AnswerCache(2)
    with pytest.raises(ValueError, match="1"):
        answer_texts(CachedModel(Broken(), cache), ["a"])
    assert len(cache) == 0


def test_the_cache_keeps_no_text_of_a_question():
    cache = AnswerCache(2)
    cache.keep("echo@1", "my card number is 4111", Answer(Status.HANDED_OFF))
    content = repr(vars(cache))
    assert "4111" not in content
    assert sys.getsizeof(next(iter(cache._answers))) < 64
