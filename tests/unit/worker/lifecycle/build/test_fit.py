from __future__ import annotations

import numpy as np
import pytest

from worker.lifecycle.build import fit as fitting
from worker.lifecycle.build.fit import Rows, choose_parameters, fit, fit_trial, predict_as_new
from worker.lifecycle.build.kernel_ridge import KernelRidgeFit
from worker.model.retrieval.index import Floats, Index, RetrievalParameters
from worker.model.retrieval.lexicon import Lexicon, learn

WORDS = ["refund", "parcel", "invoice", "password", "voucher", "discount"]
SCORE, MARGIN, NEAREST = 0, 1, 2


def rows(each: int = 6, noise: float = 0.3, seed: int = 5) -> Rows:
    """Entries whose phrasings lie around a point of their own; their answers lie there too."""
    generator = np.random.default_rng(seed)
    texts = [f"{word} please {i}" for word in WORDS for i in range(each)]
    entry_of = np.r_[np.repeat(np.arange(len(WORDS)), each), np.arange(len(WORDS))]
    points = generator.normal(size=(len(WORDS), 8))[entry_of]
    points = points + noise * generator.normal(size=points.shape)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    answers = [f"about your {word}" for word in WORDS]
    return Rows(entry_of, texts + answers, len(texts), unit.astype(np.float32))


def lexicon(known: Rows) -> Lexicon:
    return learn(known.texts[: known.phrasings])


def head_of(
    known: Rows, words: Lexicon, parameters: RetrievalParameters, entries: int
) -> tuple[Index, Floats]:
    """Fit without the shortcut: solve for the rows that are left."""
    index = fitting._index(known, words, parameters)
    matrix = np.exp(
        parameters.sharpness * (index.pairwise_similarities(np.arange(len(known.texts))) - 1.0)
    )
    noise = np.where(np.arange(len(matrix)) < known.phrasings, 0.2, 0.5)
    targets = np.where(known.entry_of[:, None] == np.arange(entries), 1.0, -1.0)
    return index, np.linalg.solve(matrix + np.diag(noise), targets)


@pytest.mark.parametrize("without_entry", [False, True])
def test_leaving_out_by_formula_is_leaving_out_in_fact(*, without_entry: bool):
    known = rows()
    words, parameters = lexicon(known), RetrievalParameters()
    whole = KernelRidgeFit.of(fitting._index(known, words, parameters))
    scores_by_formula = whole.without_entry() if without_entry else whole.without_row()
    for row in (0, 7, 20):
        own = (
            known.entry_of == known.entry_of[row]
            if without_entry
            else np.arange(len(known.texts)) == row
        )
        rest = known.subset(np.flatnonzero(~own))
        index, head = head_of(rest, words, parameters, len(WORDS))
        similarities = index.compare([known.texts[row]], known.embeddings[[row]])
        scores = np.exp(parameters.sharpness * (similarities - 1.0)) @ head
        others = np.arange(len(WORDS)) != known.entry_of[row]
        np.testing.assert_allclose(scores_by_formula[row, others], scores[0, others], atol=2e-3)
        assert not without_entry or scores_by_formula[row, known.entry_of[row]] == -np.inf


def test_phrasings_are_asked_without_themselves_and_without_their_entry():
    known = rows()
    fitted = fit(known, lexicon(known))
    assert fitted.index.head is not None
    assert fitted.known.right.mean() > 0.9
    assert not fitted.near.right.any()
    assert fitted.known.features[:, NEAREST].max() < 0.999
    assert fitted.near.features[:, SCORE].mean() < fitted.known.features[:, SCORE].mean()


def test_a_phrasing_that_its_entry_has_twice_is_not_asked():
    known = rows()
    known.texts[1] = known.texts[0]
    assert known.unique_phrasings().tolist() == list(range(2, known.phrasings))


def test_too_many_rows_for_a_head_leave_it_to_the_vote(monkeypatch):
    monkeypatch.setattr(fitting, "MAX_ROWS", 10)
    known = rows()
    fitted = fit(known, lexicon(known))
    assert fitted.index.head is None
    assert fitted.known.right.mean() > 0.9
    assert not fitted.near.right.any()


def test_the_better_kind_of_similarity_is_given_more_weight():
    by_meaning = rows(each=10, noise=0.1)
    by_spelling = rows(each=10, noise=9.0)
    for known in (by_meaning, by_spelling):  # useless words, sufficient words
        for row in range(known.phrasings):
            word = WORDS[known.entry_of[row]] if known is by_spelling else "anything"
            known.texts[row] = f"{word} {row * 7919}"
    weights = [
        choose_parameters(known, lexicon(known)).lexical["spaced"]
        for known in (by_meaning, by_spelling)
    ]
    assert weights[0] < weights[1]


def test_few_phrasings_or_a_single_entry_choose_nothing():
    few = rows(each=1)
    assert choose_parameters(few, lexicon(few)) == RetrievalParameters()
    known = rows()
    single = known.subset(np.flatnonzero(known.entry_of == 0))
    assert choose_parameters(single, lexicon(single)) == RetrievalParameters()
    assert len(fit(single, lexicon(single)).near.right) == 0


def test_questions_are_right_where_an_expected_entry_is_the_best():
    known = rows(noise=0.1)
    index = fit(known, lexicon(known)).index
    texts, embeddings = known.texts[:2], known.embeddings[:2]
    predictions = predict_as_new(index, texts, embeddings, [frozenset({0, 3}), frozenset({1})])
    assert predictions.right.tolist() == [True, False]
    assert predict_as_new(index, texts, embeddings, [frozenset()] * 2).right.tolist() == [
        False,
        False,
    ]


def test_what_was_held_out_is_asked_of_an_index_that_does_not_know_it():
    known = rows(each=8)
    held_out = np.arange(known.phrasings) % 4 == 0
    trial = fit_trial(known, lexicon(known), held_out)
    assert trial.index.phrasings == known.phrasings - held_out.sum()
    assert len(trial.known.right) == len(trial.near.right) == held_out.sum()
    assert trial.known.features[:, NEAREST].max() < 0.999
    assert trial.known.right.mean() > 0.9
    assert not trial.near.right.any()
    assert trial.near.features[:, SCORE].mean() < trial.known.features[:, SCORE].mean()
