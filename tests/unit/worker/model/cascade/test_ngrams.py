from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.cascade.ngrams import learn

KNOWN = ["where is my parcel", "my parcel is late", "refund my money", "您是机器人吗", "机器人"]
TEXTS = st.text(alphabet="abeilmnprs 您机器人", max_size=20)


def by_hand(text: str) -> dict[str, float]:
    """Return the weights of the known n-grams of a text, by the definition."""

    def ngrams(of: str) -> Counter[str]:
        padded = of if "您" in of or "机" in of or "器" in of or "人" in of else f" {of} "
        of_characters = [padded[i : i + n] for n in (1, 2, 3) for i in range(len(padded) - n + 1)]
        words = of.split()
        pairs = [f"{a} {b}" for a, b in pairwise(words)]
        return Counter(
            [f"characters:{ngram}" for ngram in of_characters]
            + [f"word:{ngram}" for ngram in [*words, *pairs]]
        )

    frequencies = Counter(ngram for known in KNOWN for ngram in ngrams(known))
    unseen = math.log(1 + len(KNOWN)) + 1
    weights, squares = {}, 0.0
    for ngram, count in ngrams(text).items():
        of_characters = ngram.startswith("characters:")
        if ngram in frequencies and (of_characters or frequencies[ngram] >= 2):
            idf = math.log((1 + len(KNOWN)) / (1 + frequencies[ngram])) + 1
            weights[ngram] = (1 + math.log(count)) * idf
            squares += weights[ngram] ** 2
        elif of_characters:
            squares += count * unseen**2
    return {ngram: weight / math.sqrt(squares) for ngram, weight in weights.items()}


@pytest.mark.parametrize(
    "text", [*KNOWN, "my my parcel", "parcel tracking", "xyz", "", "你 是机器人"]
)
def test_a_vector_has_the_weights_of_the_definition(text: str):
    vector = learn(KNOWN).vectors([text])
    assert sorted(vector.data) == pytest.approx(sorted(by_hand(text).values()), abs=1e-6)


def test_a_known_text_without_rare_words_has_length_one_and_unknown_ngrams_shorten_it():
    lengths = np.sqrt(learn(KNOWN).vectors(["my parcel", "my parcel qqq", "qqq"]).power(2).sum(1))
    assert lengths[0] == pytest.approx(1, abs=1e-6)
    assert 0 < lengths[1] < 1
    assert lengths[2] < lengths[1]


@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_no_number_of_a_row_depends_on_the_other_rows(texts: list[str]):
    vectorizer = learn(KNOWN)
    together = vectorizer.vectors(texts).toarray()
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, vectorizer.vectors([text]).toarray()[0])
