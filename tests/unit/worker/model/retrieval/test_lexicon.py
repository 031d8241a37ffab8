from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from worker.model.retrieval.lexicon import learn
from worker.text.normalization import normalize_for_match

TEXTS = ["where is my order", "where is my refund", "thank you", "您是机器人吗", "转人工客服"]
readable = st.text(min_size=1).map(normalize_for_match).filter(bool)


def test_known_texts_get_the_vectors_that_scikit_learn_gives():
    spaced = TEXTS[:3]
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 3), sublinear_tf=True, lowercase=False
    )
    expected = vectorizer.fit_transform([f" {text} " for text in spaced])
    vectors = learn(spaced).vectors(spaced)
    ours, theirs = (vectors @ vectors.T).toarray(), (expected @ expected.T).toarray()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@given(st.lists(readable, min_size=1, max_size=8))
def test_the_similarity_of_a_known_text_to_itself_is_1(texts: list[str]):
    vectors = learn(texts).vectors(texts)
    np.testing.assert_allclose(vectors.multiply(vectors).sum(axis=1), 1, atol=1e-5)


@given(st.lists(readable, min_size=1, max_size=8), st.lists(readable, min_size=1, max_size=8))
def test_no_similarity_is_above_1(known: list[str], questions: list[str]):
    lexicon = learn(known)
    products = (lexicon.vectors(questions) @ lexicon.vectors(known).T).toarray()
    assert products.min() >= 0
    assert products.max() <= 1 + 1e-5


@given(st.lists(readable, min_size=2, max_size=8))
def test_a_vector_does_not_depend_on_the_other_texts(texts: list[str]):
    lexicon = learn(TEXTS)
    together = lexicon.vectors(texts).toarray()
    alone = [lexicon.vectors([text]).toarray()[0] for text in texts]
    np.testing.assert_array_equal(together, alone)


def test_unknown_characters_make_a_question_less_similar():
    lexicon = learn(TEXTS)
    known = lexicon.vectors(TEXTS)
    close = (lexicon.vectors(["机器人"]) @ known.T).toarray().max()
    far = (lexicon.vectors(["机器人今天天气怎么样啊"]) @ known.T).toarray().max()
    assert close > 2 * far > 0


def test_a_text_of_unknown_characters_resembles_nothing():
    lexicon = learn(["您是机器人吗"])
    assert lexicon.vectors(["天气"]).nnz == 0


def test_ngrams_in_very_many_phrasings_have_no_weight():
    texts = [f"where is {chr(0x4E00 + i)}" for i in range(100)]
    lexicon = learn(texts)
    assert (lexicon.idf == 0).any()
    assert np.allclose((lexicon.vectors(texts) @ lexicon.vectors(texts).T).toarray(), np.eye(100))
